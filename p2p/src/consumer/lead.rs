//! Chooses the leader, whose plan becomes the download's, and fixes the payload for the other sources.

use std::time::Instant;

use super::{Failure, Session, serves, sources::Delivery};
use crate::{limits::LEAD_PATIENCE, schedule::Number, status::FailureCode};

impl Session {
    /// Chooses the leader: the source whose plan becomes the download's, and that delivers the updates.
    pub(super) fn choose_lead(&mut self, now: Instant) {
        if self.sources.alone().is_some_and(|number| self.sources.lead == Some(number)) {
            return;
        }
        let is_help = |delivery: &Delivery| delivery.is_alive() && !delivery.is_backing_off();
        let is_settled = self.is_fixed && !self.download.wants_updates();
        let keeps = self.sources.leading().is_some_and(|lead| match is_settled {
            true => lead.is_alive(),
            false => is_help(lead) && now < self.lead_since + LEAD_PATIENCE,
        });
        if keeps {
            return;
        }
        // The next source after the present leader that can deliver; else any other that may later.
        let after = self.sources.lead.map_or(0, |lead| lead + 1);
        let mut others: Vec<(bool, Number)> =
            self.sources.alive().map(|(number, delivery)| (!is_help(delivery), number.wrapping_sub(after))).collect();
        others.sort_unstable();
        let leads_badly = self.sources.leading().is_some_and(|lead| lead.is_alive());
        let Some(next) = others.first().filter(|(is_no_help, _)| !(leads_badly && *is_no_help)) else { return };
        let next = next.1.wrapping_add(after);
        if Some(next) == self.sources.lead {
            self.lead_since = now;
            return;
        }
        if !self.is_fixed && self.download.plan().is_some() && !self.download.forget_plan() {
            return; // Something on this machine works on its plan: that ends first.
        }
        (self.sources.lead, self.lead_since) = (Some(next), now);
        self.adopt_plan(now, next);
        self.touch();
    }

    /// Uses the leader's plan as the download's, if that helps.
    fn adopt_plan(&mut self, now: Instant, number: Number) {
        if self.is_fixed && !self.download.wants_updates() {
            return;
        }
        let plan = self.sources.get(number).and_then(|delivery| delivery.plan.clone());
        if let Some(plan) = plan
            && self.download.accept_plan(plan, false).is_err()
        {
            let message = "it serves another snapshot than the session's".to_owned();
            self.put_out(now, number, Failure { code: FailureCode::Provider, message, distrust: false }, false);
        }
    }

    /// Fixes root, length and chunk size: every source is asked for exactly that payload.
    pub(super) fn fix(&mut self) {
        if self.is_fixed || !self.download.is_fixed() {
            return;
        }
        self.is_fixed = true;
        self.tell_wishes();
    }

    pub(super) fn tell_wishes(&mut self) {
        let wishes = self.wishes();
        let lead = self.sources.lead;
        let Some(plan) = self.download.plan().cloned() else { return };
        for (_, delivery) in self.sources.iter_mut().filter(|(number, _)| Some(*number) != lead) {
            delivery.set_wishes(wishes);
            if delivery.plan.as_deref().is_some_and(|own| !serves(own, &plan)) {
                delivery.plan_again();
            }
        }
        self.touch();
    }
}
