//! Reports of API usage.

use jiff::SignedDuration;

use super::{Call, Clients, Fate, Moment, Report, caller};
use crate::{
    cli::simulate::{figures::Figures, model::Model, plan::agent},
    domain::{id::OrganizationId, limits::API_EVENTS_MAX},
    service::api_usage::ReportedEvent,
};

const TEMPLATES: [&str; 3] = ["/v1/machines/{id}", "/v1/buckets/{name}/objects", "/v1/messages"];
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "DELETE", "TRACE"];
const STATUSES: [i32; 11] = [100, 200, 201, 204, 302, 400, 404, 428, 429, 500, 599];
const USERS: [&str; 4] = ["", "ann", "bob", "çelik"];
const PLATFORMS: [&str; 3] = ["", "web", "ios"];

/// Events of one call: at most so many, and one more for so many customers.
const EVENTS_MAX: u64 = 6;
const CUSTOMERS_PER_EVENT: u64 = 8;

/// Of a hundred events, so many repeat an earlier uuid and have a fault.
const REPEATED_PERCENT: u64 = 6;
const FAULTY_PERCENT: u64 = 5;

impl Clients {
    /// What the proxies of an organization report in a round.
    pub(super) fn api_call(
        &mut self,
        organization: &OrganizationId,
        at: Moment,
        model: &Model,
        figures: &mut Figures,
    ) -> anyhow::Result<Call> {
        let mut events = vec![self.event(at, at.is_fresh)];
        let more = self.customers.len() as u64 / CUSTOMERS_PER_EVENT;
        let events_max = (EVENTS_MAX + more).min(API_EVENTS_MAX as u64 - 1);
        for _ in 0..self.random.below(events_max) {
            let event = self.event(at, at.is_fresh);
            let dice = self.random.below(100);
            let event = if dice < REPEATED_PERCENT {
                self.repeated_event(event, organization, &events, model, figures)
            } else if dice < REPEATED_PERCENT + FAULTY_PERCENT {
                self.faulty_event(event)
            } else {
                event
            };
            events.push(event);
        }
        let caller = caller(organization, "proxy")?;
        Ok(Call { caller, report: Report::ApiUsage(events), fate: Fate::Answered })
    }

    /// Events that are new, right and of now.
    pub(in crate::cli::simulate) fn sure_api_call(
        &mut self,
        organization: &OrganizationId,
        at: Moment,
    ) -> anyhow::Result<Call> {
        let events = (0..3).map(|_| self.event(at, true));
        let events = events.map(|event| ReportedEvent { timestamp: Some(at.server), ..event });
        let report = Report::ApiUsage(events.collect());
        Ok(Call { caller: caller(organization, "proxy")?, report, fate: Fate::Answered })
    }

    fn event(&mut self, at: Moment, is_fresh: bool) -> ReportedEvent {
        let seconds_max = if is_fresh { 600 } else { 4_000 };
        let ago = SignedDuration::from_secs(self.random.below(seconds_max).cast_signed());
        let client_id = match self.random.below(8) {
            0 => String::new(),
            number => agent(number),
        };
        ReportedEvent {
            uuid: self.random.uuid().to_string(),
            client_id,
            user_id: self.random.pick(&USERS).into(),
            template_uri: self.random.pick(&TEMPLATES).into(),
            http_method: self.random.pick(&METHODS).into(),
            status: self.random.pick(&STATUSES),
            platform: self.random.pick(&PLATFORMS).into(),
            timestamp: Some(at.truth.saturating_sub(ago).unwrap_or(at.truth)),
            count: 1 + self.random.below(100).cast_signed(),
        }
    }

    fn repeated_event(
        &mut self,
        event: ReportedEvent,
        organization: &OrganizationId,
        so_far: &[ReportedEvent],
        model: &Model,
        figures: &mut Figures,
    ) -> ReportedEvent {
        let mut count = |kind: &str| figures.count("event uuids sent again", kind, 1);
        match self.random.below(4) {
            0 => {
                count("within one call");
                so_far.last().cloned().unwrap_or(event)
            }
            1 => match model.api.recent(organization, self.random.next()) {
                Some(kept) => {
                    count("the same event");
                    reported(kept)
                }
                None => event,
            },
            2 => match model.api.any(organization, self.random.next()) {
                Some(kept) => {
                    count("another event of the organization");
                    ReportedEvent { uuid: kept.uuid.to_string(), ..event }
                }
                None => event,
            },
            _ => match model.product.any(organization, self.random.next()) {
                Some(kept) => {
                    count("a uuid of a record of product usage");
                    ReportedEvent { uuid: kept.record.uuid.to_string(), ..event }
                }
                None => event,
            },
        }
    }

    fn faulty_event(&mut self, event: ReportedEvent) -> ReportedEvent {
        match self.random.below(9) {
            0 => ReportedEvent { uuid: "17".into(), ..event },
            1 => ReportedEvent { client_id: " agent".into(), ..event },
            2 => ReportedEvent { user_id: "ann ".into(), ..event },
            3 => ReportedEvent { template_uri: String::new(), ..event },
            4 => ReportedEvent { http_method: "get".into(), ..event },
            5 => ReportedEvent { status: 600, ..event },
            6 => ReportedEvent { platform: "\u{7}".into(), ..event },
            7 => ReportedEvent { count: 0, ..event },
            _ => ReportedEvent { timestamp: None, ..event },
        }
    }
}

/// An event as it was reported.
fn reported(kept: &crate::domain::api_usage::ApiEvent) -> ReportedEvent {
    let text = |text: Option<String>| text.unwrap_or_default();
    ReportedEvent {
        uuid: kept.uuid.to_string(),
        client_id: kept.series.client.to_string(),
        user_id: text(kept.series.user.as_ref().map(ToString::to_string)),
        template_uri: kept.series.template_uri.to_string(),
        http_method: kept.series.method.to_string(),
        status: kept.status.get().into(),
        platform: text(kept.series.platform.as_ref().map(ToString::to_string)),
        timestamp: Some(kept.time),
        count: kept.count.get(),
    }
}
