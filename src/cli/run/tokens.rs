//! The bearer tokens of the ports, and their files. A changed file takes effect while the node runs.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rpp_http::guard::Token;
use rpp_runtime::{
    Config,
    keys::{self, KeyError},
};
use secrecy::SecretString;

use super::variable;

/// Time between two checks of the files; a change takes effect within 5 s.
const LOOK: Duration = Duration::from_secs(2);

/// The present tokens.
pub(super) struct Tokens {
    rpc: Token,
    introspection: Token,
    followed: Vec<Followed>,
}

impl Tokens {
    /// Loads the control plane's token, and introspection's if introspection is on and has a token of its own.
    pub(super) fn load(config: &Config) -> anyhow::Result<Self> {
        let mut followed = Vec::new();
        let given = variable("RPP_RPC_TOKEN");
        let rpc = Token::new(&keys::load_token(given.as_deref(), &config.rpc.token_file)?)?;
        if given.is_none() {
            followed.push(Followed::new(&rpc, config.rpc.token_file.clone()));
        }
        let given = variable("RPP_INTROSPECTION_TOKEN");
        let file = config.introspection.token_file.as_deref();
        let own = match config.introspection.enabled {
            true => keys::load_introspection_token(given.as_deref(), file)?,
            false => None,
        };
        let introspection = own.as_ref().map(Token::new).transpose()?.unwrap_or_else(|| rpc.clone());
        if let (Some(_), None, Some(file)) = (own, given, file) {
            followed.push(Followed::new(&introspection, file.to_owned()));
        }
        Ok(Self { rpc, introspection, followed })
    }

    /// The control plane's token.
    pub(super) fn rpc(&self) -> Token {
        self.rpc.clone()
    }

    /// The introspection port's token: its own if it has one, else the control plane's.
    pub(super) fn introspection(&self) -> Token {
        self.introspection.clone()
    }

    /// Checks the files again and again, without end.
    pub(super) async fn follow(&self) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.read_again().await;
        }
    }

    /// Reads the files now. Returns whether all of them can be used.
    pub(super) async fn read_again(&self) -> bool {
        let mut usable = true;
        for followed in &self.followed {
            let file = followed.file.clone();
            // The file may lie on a slow file system.
            usable &= match tokio::task::spawn_blocking(move || keys::load_token(None, &file)).await {
                Ok(read) => followed.take(read),
                Err(_) => false,
            };
        }
        usable
    }
}

/// A token and its file.
struct Followed {
    token: Token,
    file: PathBuf,
    /// What was wrong with the file at the last reading; each problem is logged once.
    wrong: Mutex<Option<String>>,
}

impl Followed {
    fn new(token: &Token, file: PathBuf) -> Self {
        Self { token: token.clone(), file, wrong: Mutex::new(None) }
    }

    /// Returns whether the file can be used.
    fn take(&self, read: Result<SecretString, KeyError>) -> bool {
        let file = self.file.display();
        let replaced = read.map_err(|error| error.to_string()).and_then(|token| {
            let replaced = self.token.replace(&token);
            replaced.map_err(|error| error.to_string())
        });
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        let usable = replaced.is_ok();
        match replaced {
            Ok(changed) => {
                *wrong = None;
                if changed {
                    tracing::info!("the token in {file} has changed: it counts from now on, the earlier one no longer");
                }
            }
            Err(error) if wrong.as_ref() == Some(&error) => {}
            Err(error) => {
                tracing::warn!(
                    "the token file cannot be used as it is now, so the earlier token still counts: {error}"
                );
                *wrong = Some(error);
            }
        }
        usable
    }
}
