//! API usage: how often which API was called, by whom, and with what result.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use uuid::Uuid;

use super::{
    asset_usage::DayRange,
    caller::Caller,
    id::{ClientId, OrganizationId, PlatformName, TemplateUri, UserId},
    limits::API_EVENT_CALLS_MAX,
    quantity::Quantity,
    totals::allows,
    usage::LogSequence,
};

macro_rules! methods {
    ($($method:ident = $number:literal $name:literal,)*) => {
        /// A method of HTTP. The numbers are part of the file format.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum HttpMethod {
            $(#[doc = $name] $method = $number,)*
        }

        impl HttpMethod {
            /// Every method.
            pub const ALL: &[Self] = &[$(Self::$method),*];

            /// Its name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$method => $name,)*
                }
            }

            /// The method of a number.
            #[must_use]
            pub fn from_number(number: u8) -> Option<Self> {
                Self::ALL.iter().copied().find(|method| *method as u8 == number)
            }
        }
    };
}

methods! {
    Get = 1 "GET",
    Post = 2 "POST",
    Put = 3 "PUT",
    Patch = 4 "PATCH",
    Delete = 5 "DELETE",
    Head = 6 "HEAD",
    Connect = 7 "CONNECT",
    Options = 8 "OPTIONS",
    Trace = 9 "TRACE",
}

/// A text that names no method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "is no method of HTTP; there are GET, POST, PUT, PATCH, DELETE, HEAD, CONNECT, OPTIONS and TRACE"
)]
pub struct UnknownMethod;

impl FromStr for HttpMethod {
    type Err = UnknownMethod;

    fn from_str(name: &str) -> Result<Self, UnknownMethod> {
        Self::ALL.iter().copied().find(|known| known.as_str() == name).ok_or(UnknownMethod)
    }
}

impl fmt::Display for HttpMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A status of HTTP: 100 to 599.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpStatus(u16);

impl HttpStatus {
    /// `None` unless it is between 100 and 599.
    #[must_use]
    pub fn new(status: u16) -> Option<Self> {
        (100..600).contains(&status).then_some(Self(status))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }

    /// What it is counted as.
    #[must_use]
    pub fn class(self) -> StatusClass {
        match self.0 {
            200..300 => StatusClass::Success,
            300..400 => StatusClass::Redirection,
            429 => StatusClass::TooManyRequests,
            400..500 => StatusClass::ClientError,
            500..600 => StatusClass::ServerError,
            _ => StatusClass::Informational,
        }
    }
}

/// What statuses are counted as: each is of exactly one class. The numbers are part of the file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum StatusClass {
    /// 100 to 199.
    Informational = 0,
    /// 200 to 299.
    Success = 1,
    /// 300 to 399.
    Redirection = 2,
    /// 400 to 499 except 429.
    ClientError = 3,
    /// 429. The vendor counts it among those of 400 to 499, too.
    TooManyRequests = 4,
    /// 500 to 599.
    ServerError = 5,
}

impl StatusClass {
    /// Every class, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Informational,
        Self::Success,
        Self::Redirection,
        Self::ClientError,
        Self::TooManyRequests,
        Self::ServerError,
    ];
}

/// What calls are counted by, within one organization.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiSeries {
    /// Which API, with names for what varies: `/v1/products/{id}`.
    pub template_uri: TemplateUri,
    /// How it was called.
    pub method: HttpMethod,
    /// The client that called.
    pub client: ClientId,
    /// On whose behalf, if it says so.
    pub user: Option<UserId>,
    /// Through what, such as `api`, `web` or `ios`, if it says so.
    pub platform: Option<PlatformName>,
}

/// Stands for the clients and APIs of calls that are counted together, there being too many series to tell them apart.
const OTHER_CLIENT: &str = "{other}";
const OTHER_TEMPLATE: &str = "/{other}";

impl ApiSeries {
    /// Series that say less of the same calls, the one that says most first. Their last one is of all calls by a method, so
    /// there are only as many of those in an organization as there are methods.
    #[must_use]
    pub fn coarser(&self) -> [Self; 3] {
        let client = ClientId::new(OTHER_CLIENT).expect("a constant");
        let template_uri = TemplateUri::new(OTHER_TEMPLATE).expect("a constant");
        let of_any_user = Self { user: None, ..self.clone() };
        let of_client = Self { platform: None, ..of_any_user.clone() };
        let of_method = Self { client, template_uri, ..of_client.clone() };
        [of_any_user, of_client, of_method]
    }
}

/// What becomes of events that would begin a series beyond [`SeriesLimits`](super::series_limits::SeriesLimits).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NewSeries {
    /// Nothing of their report is stored: its reporter hears of it, and has it still.
    #[default]
    Refused,
    /// They are stored in a series that says less, since nobody would send them again.
    Coarsened,
}

/// Some calls alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiEvent {
    /// The reporter's identity for this event; compared by value.
    pub uuid: Uuid,
    /// What was called, by whom.
    pub series: ApiSeries,
    /// What was answered.
    pub status: HttpStatus,
    /// When.
    pub time: Timestamp,
    /// How many calls.
    pub count: Quantity,
}

impl ApiEvent {
    /// Events for a number of calls alike, each with a new uuid: more than one where one may not stand for so many.
    pub fn of_calls(
        series: ApiSeries,
        status: HttpStatus,
        time: Timestamp,
        calls: u64,
    ) -> impl Iterator<Item = Self> {
        let calls_max = API_EVENT_CALLS_MAX.unsigned_abs();
        let mut left = calls;
        std::iter::from_fn(move || {
            let part = left.min(calls_max);
            left -= part;
            let count = Quantity::new(i64::try_from(part).ok()?)?;
            Some(Self { uuid: Uuid::new_v4(), series: series.clone(), status, time, count })
        })
    }
}

/// Events of one report, to be decided and stored together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiReport {
    /// Who reports.
    pub caller: Caller,
    /// The events, in the order of the request.
    pub events: Vec<ApiEvent>,
    /// What becomes of them where there are too many series.
    pub new_series: NewSeries,
}

/// Why an event was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventRejection {
    /// The uuid is not a UUID.
    InvalidId,
    /// The client is no identifier.
    InvalidClientId,
    /// The user is no identifier.
    InvalidUserId,
    /// The template is empty, or no identifier.
    InvalidTemplateUri,
    /// There is no such method of HTTP.
    InvalidHttpMethod,
    /// There is no such status of HTTP.
    InvalidStatus,
    /// The platform is no identifier.
    InvalidPlatform,
    /// The count is not between 1 and [`API_EVENT_CALLS_MAX`].
    InvalidCount,
    /// The timestamp is missing, impossible or in the future.
    InvalidTimestamp,
    /// The usage is older than the server accepts.
    Expired,
    /// An event with that uuid was accepted before.
    Duplicate,
}

/// Restricts API usage. An empty list does not restrict; usage must satisfy every list that is not empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct ApiFilter {
    /// Clients that called.
    pub clients: Vec<ClientId>,
    /// Users; calls on behalf of none do not match a list that is not empty.
    pub users: Vec<UserId>,
    /// Templates.
    pub templates: Vec<TemplateUri>,
    /// Methods.
    pub methods: Vec<HttpMethod>,
    /// Platforms; calls that did not say do not match a list that is not empty.
    pub platforms: Vec<PlatformName>,
}

impl ApiFilter {
    /// Whether usage of this series is wanted.
    #[must_use]
    pub fn matches(&self, series: &ApiSeries) -> bool {
        allows(&self.clients, Some(&series.client))
            && allows(&self.users, series.user.as_ref())
            && allows(&self.templates, Some(&series.template_uri))
            && allows(&self.methods, Some(&series.method))
            && allows(&self.platforms, series.platform.as_ref())
    }
}

/// Asks the store for totals of API usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiTotalsQuery {
    /// Whose usage.
    pub organization: OrganizationId,
    /// Which days.
    pub days: DayRange,
    /// Which series.
    pub filter: ApiFilter,
}

/// An event as it was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredApiEvent {
    /// The event.
    pub event: ApiEvent,
    /// When it was accepted, by the server's clock.
    pub stored_time: Timestamp,
    /// Where it stands in the log.
    pub sequence: LogSequence,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_is_of_one_class() {
        let class = |status| HttpStatus::new(status).map(HttpStatus::class);
        for (status, expected) in [
            (99, None),
            (100, Some(StatusClass::Informational)),
            (200, Some(StatusClass::Success)),
            (299, Some(StatusClass::Success)),
            (304, Some(StatusClass::Redirection)),
            (400, Some(StatusClass::ClientError)),
            (428, Some(StatusClass::ClientError)),
            (429, Some(StatusClass::TooManyRequests)),
            (430, Some(StatusClass::ClientError)),
            (500, Some(StatusClass::ServerError)),
            (599, Some(StatusClass::ServerError)),
            (600, None),
        ] {
            assert_eq!(class(status), expected, "{status}");
        }
        for (at, class) in StatusClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, at);
        }
    }

    #[test]
    fn coarser_series_say_less_and_end_in_one_per_method() {
        let series = |client: &str, user: Option<&str>, platform: Option<&str>| ApiSeries {
            template_uri: TemplateUri::new("/v1/things").unwrap(),
            method: HttpMethod::Put,
            client: ClientId::new(client).unwrap(),
            user: user.map(|user| UserId::new(user).unwrap()),
            platform: platform.map(|platform| PlatformName::new(platform).unwrap()),
        };
        let [of_any_user, of_client, of_method] = series("c", Some("u"), Some("web")).coarser();
        assert_eq!(of_any_user, series("c", None, Some("web")));
        assert_eq!(of_client, series("c", None, None));
        assert_eq!(series("d", Some("v"), None).coarser()[2], of_method);
        assert!(of_method.coarser().iter().all(|coarser| *coarser == of_method));
    }

    #[test]
    fn calls_beyond_the_limit_of_an_event_are_several() {
        let series = ApiSeries {
            template_uri: TemplateUri::new("/v1/things").unwrap(),
            method: HttpMethod::Get,
            client: ClientId::new("client").unwrap(),
            user: None,
            platform: None,
        };
        let status = HttpStatus::new(200).unwrap();
        let max = API_EVENT_CALLS_MAX.unsigned_abs();
        for (calls, parts) in [
            (0, vec![]),
            (1, vec![1]),
            (max, vec![API_EVENT_CALLS_MAX]),
            (2 * max + 3, vec![API_EVENT_CALLS_MAX, API_EVENT_CALLS_MAX, 3]),
        ] {
            let events = ApiEvent::of_calls(series.clone(), status, Timestamp::UNIX_EPOCH, calls);
            let events: Vec<ApiEvent> = events.collect();
            let found: Vec<i64> = events.iter().map(|event| event.count.get()).collect();
            assert_eq!(found, parts, "{calls}");
            let uuids: std::collections::HashSet<Uuid> =
                events.iter().map(|event| event.uuid).collect();
            assert_eq!(uuids.len(), parts.len());
        }
    }

    #[test]
    fn methods_have_names_and_numbers() {
        for method in HttpMethod::ALL {
            assert_eq!(method.as_str().parse(), Ok(*method));
            assert_eq!(HttpMethod::from_number(*method as u8), Some(*method));
        }
        assert_eq!("get".parse::<HttpMethod>(), Err(UnknownMethod));
        assert_eq!(HttpMethod::from_number(0), None);
    }
}
