//! What every HTTP port of ours shares: the accept loop, host and origin rules, bearer auth.
