//! Barred sources: the driver asks nothing of them until a given time, for instance because it has banned them. Nothing
//! failed in the session, so there is no back-off, and they are not tried before that time.

use std::time::Instant;

use super::{DownloadSource, Session, sources::LinkKind};

impl Session {
    /// The driver asks nothing of this source before `until`. `cause` says why; it completes a sentence that begins
    /// with "it is", for instance with "banned until noon".
    ///
    /// Valid at any time, and as an answer to [`Action::Connect`](super::Action::Connect) and
    /// [`Action::Mirror`](super::Action::Mirror). The jobs of a mirror are given up, and other sources take over the
    /// chunks of this source.
    ///
    /// Until then the source's state is [`SourceState::BackingOff`](crate::status::SourceState::BackingOff), with
    /// `until` as the time of the next try. This does not count as a failed try, but the time counts towards
    /// `give_up_after`. [`retry_source`](Self::retry_source) and [`retry_now`](Self::retry_now) end it earlier. Nothing
    /// changes if the source is out or the session is over.
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
