//! What an entry counts as. Pure.

use jiff::Timestamp;

use super::{
    AccessLogEntry, Digest, DropReason, EntryKind, IgnoredValue, Tally, TemplateError,
    merge::Merged, templates::PathTemplates,
};
use crate::{
    domain::{
        api_usage::{ApiSeries, HttpStatus},
        caller::Caller,
        id::{ClientId, IdError, PlatformName, TemplateUri, UserId},
    },
    service::acceptance::AcceptanceWindow,
};

/// What a call without an answer counts as. Envoy says no status then, or 0 as in its text logs; 499 is what other proxies
/// say if the client has gone, which is what it nearly always means: when the service behind it is at fault, Envoy answers
/// itself, with a status of 5xx.
const NO_ANSWER: u16 = 499;

/// Which headers of requests say who called. Names in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLogHeaders {
    /// Of the client. Default `x-client-id`.
    pub client: String,
    /// Of the user. Default `x-user-id`.
    pub user: String,
    /// Of the platform. Default `x-platform`.
    pub platform: String,
}

impl Default for AccessLogHeaders {
    fn default() -> Self {
        Self {
            client: "x-client-id".to_owned(),
            user: "x-user-id".to_owned(),
            platform: "x-platform".to_owned(),
        }
    }
}

/// How entries of access logs are read.
#[derive(Debug, Clone)]
pub struct AccessLogRules {
    templates: PathTemplates,
    headers: AccessLogHeaders,
}

impl AccessLogRules {
    /// Takes templates for paths, such as `/v1/products/{id}`: 1 to
    /// [`TEMPLATE_URI_CHARS_MAX`](crate::domain::limits::TEMPLATE_URI_CHARS_MAX) characters.
    ///
    /// # Errors
    /// [`TemplateError`] names the first one that cannot be used.
    pub fn new(templates: &[String], headers: AccessLogHeaders) -> Result<Self, TemplateError> {
        Ok(Self { templates: PathTemplates::new(templates)?, headers })
    }

    /// Makes events of the entries that `caller` sent, at the moment `now`.
    #[must_use]
    pub fn digest(
        &self,
        caller: &Caller,
        entries: impl IntoIterator<Item = AccessLogEntry>,
        window: &AcceptanceWindow,
        now: Timestamp,
    ) -> Digest {
        let judge = Judge { rules: self, window, now, reporter: &caller.client };
        let mut tally = Tally::default();
        let mut merged = Merged::default();
        for entry in entries {
            if let Some(call) = judge.call(&entry, &mut tally) {
                merged.add(call);
            }
        }
        Digest { events: merged.into_events(), tally }
    }
}

/// A call to be counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) series: ApiSeries,
    pub(super) status: HttpStatus,
    pub(super) time: Timestamp,
}

/// Judges entries at one moment.
#[derive(Debug)]
struct Judge<'a> {
    rules: &'a AccessLogRules,
    window: &'a AcceptanceWindow,
    now: Timestamp,
    /// The client that reports.
    reporter: &'a ClientId,
}

impl Judge<'_> {
    /// The call that an entry stands for; `None` if it counts as none, which is in the tally unless it should not.
    fn call(&self, entry: &AccessLogEntry, tally: &mut Tally) -> Option<Call> {
        let mut dropped = |reason| tally.drop(reason, 1);
        match entry.kind {
            EntryKind::Completed => {}
            EntryKind::Partial => return None,
            EntryKind::NotHttp => {
                dropped(DropReason::NotHttp);
                return None;
            }
            EntryKind::Unknown => {
                dropped(DropReason::UnknownKind);
                return None;
            }
        }
        let Some(method) = entry.method else {
            dropped(DropReason::UnknownMethod);
            return None;
        };
        let Some(status) = status(entry.status) else {
            dropped(DropReason::InvalidStatus);
            return None;
        };
        let headers = &self.rules.headers;
        let client = header(entry, &headers.client, ClientId::of_new, IgnoredValue::Client, tally);
        let user = header(entry, &headers.user, UserId::of_new, IgnoredValue::User, tally);
        let platform =
            header(entry, &headers.platform, PlatformName::of_new, IgnoredValue::Platform, tally);
        let series = ApiSeries {
            template_uri: self.template(entry, tally),
            method,
            client: client.unwrap_or_else(|| self.reporter.clone()),
            user,
            platform,
        };
        Some(Call { series, status, time: self.time(entry, tally) })
    }

    fn template(&self, entry: &AccessLogEntry, tally: &mut Tally) -> TemplateUri {
        let name = &*entry.route_name;
        let route = usable(name, TemplateUri::of_new, IgnoredValue::RouteName, tally);
        if let Some(template) = route.as_ref().filter(|_| name.starts_with('/')) {
            return template.clone();
        }
        let templates = &self.rules.templates;
        let path = match &*entry.original_path {
            "" => &entry.path,
            original => original,
        };
        match (templates.find(path), route) {
            (Some(template), _) => template.clone(),
            (None, Some(name)) => name,
            (None, None) => templates.unmatched().clone(),
        }
    }

    /// The end of the call; now, if that is no time at which usage is accepted: proxies may keep entries for a while, and
    /// their clocks may be wrong, but the call did happen.
    fn time(&self, entry: &AccessLogEntry, tally: &mut Tally) -> Timestamp {
        let Some(start) = entry.start_time else { return self.now };
        let end = start.checked_add(entry.duration.unwrap_or_default());
        let accepted = |end: &Timestamp| {
            let age = self.now.duration_since(*end);
            -self.window.clock_skew <= age && age <= self.window.accept_past
        };
        end.ok().filter(accepted).unwrap_or_else(|| {
            tally.ignore(IgnoredValue::Time);
            self.now
        })
    }
}

fn status(status: Option<u32>) -> Option<HttpStatus> {
    match status {
        None | Some(0) => HttpStatus::new(NO_ANSWER),
        Some(status) => u16::try_from(status).ok().and_then(HttpStatus::new),
    }
}

/// What a header says, if it can be used.
fn header<T>(
    entry: &AccessLogEntry,
    name: &str,
    parse: impl FnOnce(&str) -> Result<T, IdError>,
    value: IgnoredValue,
    tally: &mut Tally,
) -> Option<T> {
    usable(entry.headers.get(name)?, parse, value, tally)
}

/// A text as what it should be. One that is empty says nothing; any other that it cannot be is in the tally.
fn usable<T>(
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, IdError>,
    value: IgnoredValue,
    tally: &mut Tally,
) -> Option<T> {
    if text.is_empty() {
        return None;
    }
    parse(text).map_err(|_| tally.ignore(value)).ok()
}
