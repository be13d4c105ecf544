//! How the node applies its limits.

use std::time::Instant;

use super::{ByteLimits, LimitsChange, LimitsInForce, UnsavedLimits, save};
use crate::{error::StorageFault, handle::Reply, node::Node};

impl Node {
    /// Puts limits in force.
    pub(crate) fn set_limits(&mut self, limits: ByteLimits) {
        self.limits = limits;
        self.metrics.limits.observe(limits);
        self.manager.limit_rate(limits.download_bytes_per_second, Instant::now());
        let behaviour = &mut self.swarm.behaviour_mut().snapshots;
        behaviour.limit_upload(limits.upload_bytes_per_second, limits.upload_bytes_per_second_per_peer);
    }

    pub(crate) fn limits_in_force(&self) -> LimitsInForce {
        LimitsInForce { limits: self.limits, persistent: self.limits == self.kept_limits }
    }

    /// Changes the limits. If they are to be kept, the answer comes when they are on disk.
    pub(crate) fn change_limits(&mut self, change: &LimitsChange, reply: Reply<LimitsInForce>) {
        let limits = self.limits.changed(change);
        if limits != self.limits {
            tracing::info!(
                download = limits.download_bytes_per_second,
                upload = limits.upload_bytes_per_second,
                upload_per_peer = limits.upload_bytes_per_second_per_peer,
                "limits by the byte are changed (bytes a second; 0: none)"
            );
        }
        self.set_limits(limits);
        if !change.persist {
            let _ = reply.send(Ok(self.limits_in_force()));
            return;
        }
        // If the write fails, the caller is told, and may try again.
        self.kept_limits = limits;
        let folder = self.config.data_dir.clone();
        tokio::task::spawn_blocking(move || {
            let saved = save(&folder, limits).map(|()| LimitsInForce { limits, persistent: true });
            let saved = saved.map_err(|error| StorageFault::new(UnsavedLimits(error)).into());
            let _ = reply.send(saved);
        });
    }
}
