//! `meterd query api`.

mod calendar;
mod chart;
mod job;
mod report;
mod words;

use std::io;

use clap::{Args, builder::PossibleValuesParser};
use jiff::{ToSpan as _, tz::TimeZone};

use self::{
    job::{PageReader, read_answer},
    report::{ApiReport, Shape, write_csv_page},
    words::{Granularity, Group, Metric, SortBy},
};
use super::QueryForm;
use crate::{
    api::pb::meterd::v1::CreateOrganizationAggregatesJobRequest,
    cli::{
        CommandError, CommandResult, connection::ServerOptions, output::grouped, terminal::tell,
    },
    domain::interval::HalfOpenInterval,
};

/// What jobs can be asked about.
const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"];

/// What the server gives instead of larger counts: 2^53 − 1.
const COUNT_MAX: u64 = (1 << 53) - 1;

/// Add API calls up by day, week or month and by client, user, template, method or platform
///
/// The server works on it in a job, which sees what was acknowledged before it began; interrupting the command cancels
/// the job. Days, weeks (from Monday) and months are those of UTC. Needs the permission usage:organization:view.
#[derive(Debug, Args)]
pub(super) struct ApiQuery {
    /// ISO 8601 interval, such as 2026-11-01/P1M: its end is not part of it, days that it touches count whole. At most
    /// 90 days and a year back [default: the last 30 days, today included]
    #[arg(long, value_name = "INTERVAL")]
    interval: Option<String>,
    /// How fine
    #[arg(long, value_enum, default_value_t)]
    granularity: Granularity,
    /// What to keep apart, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["template", "method"])]
    group_by: Vec<Group>,
    /// Which calls to count, by the status that was answered, separated by commas; 4xx includes 429. A chart shows the
    /// first [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    metric: Vec<Metric>,
    /// Order of the rows: date, or what --group-by or --metric names, such as requests:desc (repeatable, the first
    /// counts most; not for charts) [default: date, then what --group-by names]
    #[arg(long, value_name = "FIELD[:desc]")]
    sort: Vec<SortBy>,
    /// Most rows to print; 0 for all of them. Not for charts
    #[arg(long, value_name = "N", default_value_t = 0)]
    limit: u64,
    /// Form of the output
    #[arg(long, short, value_enum, default_value_t)]
    output: QueryForm,
    /// Only calls by this client (repeatable, at most 100)
    #[arg(long, value_name = "ID")]
    client: Vec<String>,
    /// Only calls on behalf of this user (repeatable, at most 100)
    #[arg(long, value_name = "ID")]
    user: Vec<String>,
    /// Only calls of this API, such as /api/v2/users/{userId} (repeatable, at most 100)
    #[arg(long, value_name = "TEMPLATE")]
    template: Vec<String>,
    /// Only calls with this method (repeatable)
    #[arg(long, value_name = "METHOD", ignore_case = true, value_parser = PossibleValuesParser::new(METHODS))]
    method: Vec<String>,
    /// Only calls through this platform (repeatable, at most 100)
    #[arg(long, value_name = "NAME")]
    platform: Vec<String>,
    #[command(flatten)]
    server: ServerOptions,
}

impl ApiQuery {
    pub(super) async fn run(self) -> CommandResult {
        let interval = self.interval()?;
        let shape = Shape::new(&self.group_by, &self.metric, self.granularity);
        for sort in &self.sort {
            if !shape.has(sort.field) {
                let known = shape.sort_fields().join(", ");
                let text = format!("--sort {}: rows have {known}", sort.field.name());
                return Err(CommandError::usage(text));
            }
        }
        if self.output == QueryForm::Chart && self.limit > 0 {
            let text = "--limit leaves rows out, --output chart draws all of them";
            return Err(CommandError::usage(text));
        }
        let request = self.request(&interval, &shape);
        let connection = self.server.connect().await?;
        let mut rows = Vec::new();
        let (is_csv, limit) = (self.output == QueryForm::Csv, self.limit);
        let (mut header, mut is_saturated) = (true, false);
        // There may be millions of rows: what need not be looked at as a whole is written as it comes.
        let take: PageReader<'_> = Box::new(|page| {
            is_saturated |= page.iter().any(|row| row.counts_saturated == Some(true));
            if is_csv {
                return write_csv_page(
                    io::stdout().lock(),
                    &shape,
                    &page,
                    std::mem::take(&mut header),
                );
            }
            rows.extend(page);
            Ok(())
        });
        let row_count = read_answer(connection, request, limit, take).await?;
        let report = ApiReport { shape, interval, rows, row_count };
        let out = io::stdout().lock();
        match self.output {
            QueryForm::Table => report.write_table(out)?,
            QueryForm::Json => report.write_json(out)?,
            QueryForm::Csv => {}
            QueryForm::Chart => {
                let metric = self.metric.first().copied().unwrap_or(Metric::Requests);
                chart::write(out, &report, metric)?;
            }
        }
        if is_saturated {
            let most = grouped(COUNT_MAX);
            tell(format_args!("counts above {most} are given as that"));
        }
        if limit > 0 && row_count > limit {
            let (limit, all) = (grouped(limit), grouped(row_count));
            tell(format_args!("the first {limit} of {all} rows (--limit 0 for all)"));
        }
        Ok(())
    }

    fn interval(&self) -> CommandResult<HalfOpenInterval> {
        let text = self.interval.clone().unwrap_or_else(super::last_days);
        HalfOpenInterval::parse(&text, &TimeZone::UTC)
            .map_err(|error| CommandError::usage(format!("--interval {text:?} {error}")))
    }

    fn request(
        &self,
        interval: &HalfOpenInterval,
        shape: &Shape,
    ) -> CreateOrganizationAggregatesJobRequest {
        // A job's interval includes its end.
        let last = interval.end().checked_sub(1.nanosecond()).unwrap_or_else(|_| interval.start());
        CreateOrganizationAggregatesJobRequest {
            interval: format!("{}/{last}", interval.start()),
            granularity: self.granularity.to_wire().to_owned(),
            sort_by: self.sort.iter().map(|sort| sort.to_wire()).collect(),
            metrics: shape.metrics().iter().map(|metric| metric.to_wire().to_owned()).collect(),
            template_uris: self.template.clone(),
            http_methods: self.method.iter().map(|method| method.to_uppercase()).collect(),
            platforms: self.platform.clone(),
            group_by: shape.groups().iter().map(|group| group.to_wire().to_owned()).collect(),
            user_ids: self.user.clone(),
            oauth_client_ids: self.client.clone(),
        }
    }
}
