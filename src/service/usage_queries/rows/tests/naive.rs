//! The same rows, worked out with a map and a comparator that know nothing of keys.

use super::*;

/// All rows of a plan, in order.
pub(super) fn naive(plan: &RowPlan, added: &[Added]) -> Vec<Row> {
    type Sums = BTreeMap<StatusClass, u128>;
    let mut groups: BTreeMap<(Option<civil::Date>, Vec<String>), Sums> = BTreeMap::new();
    for (series, day, class, calls) in added {
        let values = plan.columns.iter().map(|column| value(*column, series)).collect();
        let sums = groups.entry((first_date(plan.bucket, day.date()), values)).or_default();
        *sums.entry(*class).or_default() += u128::from(*calls);
    }
    let mut rows: Vec<Row> = groups
        .into_iter()
        .map(|((date, values), sums)| {
            let of = |class| sums.get(&class).copied().unwrap_or_default();
            let counts = Counts::from_classes(StatusClass::ALL.map(of));
            Row { date, values, counts }
        })
        .collect();
    rows.sort_by(|a, b| compare(plan, a, b));
    rows
}

fn value(column: Column, series: &ApiSeries) -> String {
    match column {
        Column::ClientId => series.client.to_string(),
        Column::ClientName => client_name(&series.client),
        Column::UserId => series.user.as_ref().map(ToString::to_string).unwrap_or_default(),
        Column::TemplateUri => series.template_uri.to_string(),
        Column::HttpMethod => series.method.to_string(),
        Column::Platform => series.platform.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

fn first_date(bucket: Bucket, date: civil::Date) -> Option<civil::Date> {
    match bucket {
        Bucket::Whole => None,
        Bucket::Day => Some(date),
        Bucket::Month => Some(civil::date(date.year(), date.month(), 1)),
        Bucket::Week => {
            let mut monday = date;
            while monday.weekday() != civil::Weekday::Monday {
                monday = monday.yesterday().unwrap();
            }
            Some(monday)
        }
    }
}

fn compare(plan: &RowPlan, a: &Row, b: &Row) -> Ordering {
    for (field, direction) in &plan.sort {
        let ordering = match field {
            SortField::Date => a.date.cmp(&b.date),
            SortField::Column(column) => plan
                .columns
                .iter()
                .position(|known| known == column)
                .map_or(Ordering::Equal, |at| a.values[at].chars().cmp(b.values[at].chars())),
            SortField::Metric(metric) => number(*metric, a).cmp(&number(*metric, b)),
        };
        let ordering = match direction {
            Direction::Ascending => ordering,
            Direction::Descending => ordering.reverse(),
        };
        if ordering.is_ne() {
            return ordering;
        }
    }
    a.date.cmp(&b.date).then_with(|| a.values.cmp(&b.values))
}

fn number(metric: Metric, row: &Row) -> u128 {
    let of = |classes: &[StatusClass]| classes.iter().map(|class| row.counts.of(*class)).sum();
    match metric {
        Metric::Requests => of(&StatusClass::ALL),
        Metric::Status200 => of(&[StatusClass::Success]),
        Metric::Status300 => of(&[StatusClass::Redirection]),
        Metric::Status400 => of(&[StatusClass::ClientError, StatusClass::TooManyRequests]),
        Metric::Status429 => of(&[StatusClass::TooManyRequests]),
        Metric::Status500 => of(&[StatusClass::ServerError]),
    }
}
