//! Sources of which the driver asks nothing for a while: it has banned them, for instance. Nothing failed here, so they are not tried
//! before that is over.

use std::time::Instant;

use super::{DownloadSource, Session, sources::LinkKind};

impl Session {
    /// The driver asks nothing of this source before `until`, and says why: `cause` goes on from "it is", as in "banned until noon".
    /// May be told at any time, and instead of an answer to what is wanted of the source ([`Action::Connect`](super::Action::Connect),
    /// [`Action::Mirror`](super::Action::Mirror)). What a mirror was asked for is given up, and the others deliver what was this one's.
    ///
    /// Until then its status is [`SourceState::BackingOff`](crate::status::SourceState::BackingOff) with that time. It is no failed try;
    /// `give_up_after` counts. [`retry_source`](Self::retry_source) and [`retry_now`](Self::retry_now) end it earlier. Changes nothing when the
    /// source is out, or the session is over.
    pub fn handle_barred(&mut self, now: Instant, source: DownloadSource, until: Instant, cause: &str) {
        let Some(number) = self.sources.number_of(source).filter(|_| !self.is_over()) else { return };
        let Some(delivery) = self.sources.get_mut(number).filter(|delivery| delivery.is_alive()) else { return };
        let failure = match &mut delivery.kind {
            LinkKind::Peer(link) => link.barred(now, until, cause),
            LinkKind::Mirror(mirror) => mirror.barred(now, until, cause),
        };
        self.touch();
        if let Some(failure) = failure {
            self.put_out(now, number, failure, false);
        }
        self.settle();
    }
}
