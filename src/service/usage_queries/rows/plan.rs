//! What rows are asked for. Plans are stored with their jobs, so the spelling of every name here is part of
//! the file format.

use jiff::civil;
use serde::{Deserialize, Serialize};

use super::counts::Metric;
use crate::domain::asset_usage::UsageDay;

/// What rows can be told apart by, beside the date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::service) enum Column {
    /// Id of the client that called.
    ClientId,
    /// Its name. Clients of one name are one, unless their ids are a column, too.
    ClientName,
    /// On whose behalf it called; empty if it did not say.
    UserId,
    /// Which API.
    TemplateUri,
    /// Name of the method; ordered by that name.
    HttpMethod,
    /// Through what; empty if it did not say.
    Platform,
}

/// What days are gathered into. Usage days have no time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::service) enum Bucket {
    /// Days.
    Day,
    /// Weeks from Monday.
    Week,
    /// Calendar months.
    Month,
    /// All of them; rows have no date.
    Whole,
}

/// 1970-01-01 was a Thursday.
const EPOCH_DAYS_INTO_WEEK: i64 = 3;

impl Bucket {
    /// The first day of the bucket that a day falls into; of [`Bucket::Whole`] the day itself.
    pub(super) fn first_day(self, day: UsageDay) -> UsageDay {
        match self {
            Self::Day | Self::Whole => day,
            Self::Week => {
                let into_week = (day.number() + EPOCH_DAYS_INTO_WEEK).rem_euclid(7);
                // The first week of the calendar may lack its Monday.
                UsageDay::from_number(day.number() - into_week)
                    .unwrap_or_else(|| UsageDay::of(civil::Date::MIN))
            }
            Self::Month => UsageDay::of(day.date().first_of_month()),
        }
    }
}

/// What rows can be ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::service) enum SortField {
    /// The first day of the bucket.
    Date,
    /// A column, as text, by Unicode code points.
    Column(Column),
    /// A count.
    Metric(Metric),
}

/// Which comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::service) enum Direction {
    /// The least.
    Ascending,
    /// The greatest.
    Descending,
}

/// Which rows, and in what order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::service) struct RowPlan {
    /// What days are gathered into.
    pub(in crate::service) bucket: Bucket,
    /// What rows are told apart by, beside the date; the values of a row are in this order.
    pub(in crate::service) columns: Vec<Column>,
    /// The order, first field first. Rows equal in all of these are ordered by date and then by the columns,
    /// ascending. Fields that rows do not have, and those named before, order nothing.
    pub(in crate::service) sort: Vec<(SortField, Direction)>,
    /// Most rows; more are an error.
    pub(in crate::service) rows_max: u64,
}

#[cfg(test)]
mod tests {
    use jiff::civil::{Date, date};

    use super::*;

    fn first(bucket: Bucket, day: Date) -> Date {
        bucket.first_day(UsageDay::of(day)).date()
    }

    #[test]
    fn weeks_begin_on_monday_across_years() {
        for (day, monday) in [
            (date(2026, 12, 31), date(2026, 12, 28)),
            (date(2027, 1, 3), date(2026, 12, 28)),
            (date(2027, 1, 4), date(2027, 1, 4)),
            (date(1970, 1, 1), date(1969, 12, 29)),
            (date(1969, 12, 28), date(1969, 12, 22)),
            (date(2024, 2, 29), date(2024, 2, 26)),
        ] {
            assert_eq!(first(Bucket::Week, day), monday, "{day}");
        }
        assert!(first(Bucket::Week, Date::MIN) <= Date::MIN);
    }

    #[test]
    fn months_begin_on_the_first() {
        assert_eq!(first(Bucket::Month, date(2024, 2, 29)), date(2024, 2, 1));
        assert_eq!(first(Bucket::Month, date(1969, 12, 31)), date(1969, 12, 1));
        assert_eq!(first(Bucket::Day, date(2024, 2, 29)), date(2024, 2, 29));
    }

    #[test]
    fn the_stored_spelling_of_a_plan_stays() {
        let plan = RowPlan {
            bucket: Bucket::Week,
            columns: vec![Column::ClientName, Column::TemplateUri],
            sort: vec![
                (SortField::Metric(Metric::Status429), Direction::Descending),
                (SortField::Date, Direction::Ascending),
                (SortField::Column(Column::TemplateUri), Direction::Ascending),
            ],
            rows_max: 7,
        };
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(
            text,
            r#"{"bucket":"week","columns":["client_name","template_uri"],"sort":[[{"metric":"status429"},"descending"],["date","ascending"],[{"column":"template_uri"},"ascending"]],"rows_max":7}"#
        );
        assert_eq!(serde_json::from_str::<RowPlan>(&text).unwrap(), plan);
    }
}
