//! API usage, as it must be.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use uuid::Uuid;

use super::{
    Expected,
    product_usage::nth_from_end,
    rules::{Place, place, uuid},
};
use crate::{
    domain::{
        api_usage::{ApiEvent, ApiSeries, EventRejection, HttpMethod, HttpStatus},
        caller::Caller,
        id::{ClientId, OrganizationId, PlatformName, TemplateUri, UserId},
        quantity::Quantity,
    },
    service::api_usage::{EventVerdict, ReportedEvent},
};

/// The events of an organization, in the order in which they were accepted, and their places by day.
#[derive(Debug, Default)]
struct OfOrganization {
    events: Vec<ApiEvent>,
    by_uuid: HashMap<Uuid, usize>,
    by_day: BTreeMap<Date, Vec<usize>>,
}

/// All events.
#[derive(Debug, Default)]
pub(in crate::cli::simulate) struct ApiModel {
    organizations: HashMap<OrganizationId, OfOrganization>,
    /// Uuids that may be taken.
    doubts: HashSet<(OrganizationId, Uuid)>,
    kept: usize,
}

impl ApiModel {
    pub(super) fn decide(
        &mut self,
        caller: &Caller,
        events: &[ReportedEvent],
        now: Timestamp,
    ) -> Vec<Expected<EventVerdict>> {
        events.iter().map(|event| self.decide_one(caller, event, now)).collect()
    }

    fn decide_one(
        &mut self,
        caller: &Caller,
        reported: &ReportedEvent,
        now: Timestamp,
    ) -> Expected<EventVerdict> {
        let rejected =
            |reason, conflict| Expected::Exactly(EventVerdict::Rejected { reason, conflict });
        let event = match judge(caller, reported, now) {
            Ok(event) => event,
            Err(reason) => return rejected(reason, false),
        };
        let of_organization = self.organizations.entry(caller.organization.clone()).or_default();
        if let Some(place) = of_organization.by_uuid.get(&event.uuid) {
            let conflict = of_organization.events.get(*place) != Some(&event);
            return rejected(EventRejection::Duplicate, conflict);
        }
        let place = of_organization.events.len();
        let day = event.time.to_zoned(TimeZone::UTC).date();
        let uuid = event.uuid;
        of_organization.by_uuid.insert(uuid, place);
        of_organization.by_day.entry(day).or_default().push(place);
        of_organization.events.push(event);
        self.kept += 1;
        if self.doubts.remove(&(caller.organization.clone(), uuid)) {
            Expected::Settled
        } else {
            Expected::Exactly(EventVerdict::Accepted)
        }
    }

    pub(super) fn doubt(&mut self, organization: &OrganizationId, events: &[ReportedEvent]) {
        let known = self.organizations.get(organization);
        for uuid in events.iter().filter_map(|event| uuid(&event.uuid)) {
            // What is known to be there is in no doubt.
            if known.is_none_or(|known| !known.by_uuid.contains_key(&uuid)) {
                self.doubts.insert((organization.clone(), uuid));
            }
        }
    }

    pub(super) fn doubts(&self) -> usize {
        self.doubts.len()
    }

    pub(super) fn kept(&self) -> usize {
        self.kept
    }

    /// One of an organization's events.
    pub(in crate::cli::simulate) fn any(
        &self,
        organization: &OrganizationId,
        random: u64,
    ) -> Option<&ApiEvent> {
        let events = &self.organizations.get(organization)?.events;
        nth_from_end(events, random, events.len())
    }

    /// One of its last.
    pub(in crate::cli::simulate) fn recent(
        &self,
        organization: &OrganizationId,
        random: u64,
    ) -> Option<&ApiEvent> {
        let events = &self.organizations.get(organization)?.events;
        nth_from_end(events, random, events.len().min(40))
    }

    /// An organization's events of some days in UTC, both included.
    pub(in crate::cli::simulate) fn of_days(
        &self,
        organization: &OrganizationId,
        first: Date,
        last: Date,
    ) -> impl Iterator<Item = &ApiEvent> {
        self.organizations.get(organization).into_iter().flat_map(move |known| {
            let places = known.by_day.range(first..=last).flat_map(|(_, places)| places);
            places.filter_map(|place| known.events.get(*place))
        })
    }
}

/// The rules but the last, in the order of the contract.
fn judge(
    caller: &Caller,
    reported: &ReportedEvent,
    now: Timestamp,
) -> Result<ApiEvent, EventRejection> {
    let uuid = uuid(&reported.uuid).ok_or(EventRejection::InvalidId)?;
    let client = match reported.client_id.as_str() {
        "" => caller.client.clone(),
        id => ClientId::new(id).map_err(|_| EventRejection::InvalidClientId)?,
    };
    let user = (!reported.user_id.is_empty()).then(|| UserId::new(&reported.user_id));
    let user = user.transpose().map_err(|_| EventRejection::InvalidUserId)?;
    let template_uri =
        TemplateUri::new(&reported.template_uri).map_err(|_| EventRejection::InvalidTemplateUri)?;
    let method = HttpMethod::ALL.iter().find(|method| method.as_str() == reported.http_method);
    let method = *method.ok_or(EventRejection::InvalidHttpMethod)?;
    let status = u16::try_from(reported.status).ok().filter(|status| (100..=599).contains(status));
    let status = status.and_then(HttpStatus::new).ok_or(EventRejection::InvalidStatus)?;
    let platform = (!reported.platform.is_empty()).then(|| PlatformName::new(&reported.platform));
    let platform = platform.transpose().map_err(|_| EventRejection::InvalidPlatform)?;
    // Rules of its own: the most calls of one event are written here once more.
    let count = Quantity::new(reported.count)
        .filter(|count| count.get() <= 1_000_000_000)
        .ok_or(EventRejection::InvalidCount)?;
    let time = reported.timestamp.ok_or(EventRejection::InvalidTimestamp)?;
    match place(time, now) {
        Place::TooEarly => Err(EventRejection::InvalidTimestamp),
        Place::TooLate => Err(EventRejection::Expired),
        Place::Within => {
            let series = ApiSeries { template_uri, method, client, user, platform };
            Ok(ApiEvent { uuid, series, status, time, count })
        }
    }
}
