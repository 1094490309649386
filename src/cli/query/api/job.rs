//! A job on the server, from its beginning to its last row.

use std::{pin::pin, time::Duration};

use indicatif::ProgressBar;
use tokio::time::{sleep, timeout};

use crate::{
    api::pb::meterd::v1::{
        CancelJobRequest, CreateOrganizationAggregatesJobRequest, DeleteJobRequest, GetJobRequest,
        GetOrganizationAggregatesJobRequest, JobState, OrganizationUsage,
        usage_job_service_client::UsageJobServiceClient,
        usage_query_service_client::UsageQueryServiceClient,
    },
    cli::{
        CommandError, CommandResult,
        connection::{Connection, call_failed, describe},
        output::grouped,
        serve::stop_signal,
        terminal::progress_bar,
    },
    domain::limits::PAGE_SIZE_MAX,
};

/// Between one look and the next.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long an interrupted command goes on for the sake of the job.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// Takes pages as they come, at least one.
pub(super) type PageReader<'a> = Box<dyn FnMut(Vec<OrganizationUsage>) -> CommandResult + 'a>;

/// Has the server do the job and reads its result, up to `limit` rows unless that is 0; answers how many rows there are.
/// If the process is asked to stop meanwhile, the job is cancelled. Once its result is read it is deleted: what an
/// organization keeps of results is limited.
pub(super) async fn read_answer(
    connection: Connection,
    request: CreateOrganizationAggregatesJobRequest,
    limit: u64,
    take: PageReader<'_>,
) -> CommandResult<u64> {
    let mut jobs = UsageJobServiceClient::new(connection.clone());
    let client = UsageQueryServiceClient::new(connection);
    let mut stop = pin!(stop_signal()?);
    let id = {
        let mut starter = client.clone();
        let mut starting = pin!(starter.create_organization_aggregates_job(request));
        let started = tokio::select! {
            started = &mut starting => started,
            () = &mut stop => {
                // It may have begun, and only its answer says which one it is.
                let said = match timeout(CANCEL_TIMEOUT, starting).await {
                    Ok(Ok(started)) => cancel(&mut jobs, started.into_inner().id).await,
                    _ => "interrupted".to_owned(),
                };
                return Err(CommandError::failed(said));
            }
        };
        started.map_err(|error| call_failed(&error))?.into_inner().id
    };
    let bar = progress_bar(None, "{spinner} {msg}, {elapsed}");
    bar.set_message("waiting");
    let mut job = Job { client, jobs: jobs.clone(), id: id.clone(), bar: bar.clone() };
    let outcome = tokio::select! {
        outcome = job.result(limit, take) => Some(outcome),
        () = &mut stop => None,
    };
    bar.finish_and_clear();
    match outcome {
        Some(Ok(rows)) => {
            // If it fails, the result expires as others do.
            let deleting = jobs.delete_job(DeleteJobRequest { job_id: id });
            let _ = timeout(CANCEL_TIMEOUT, deleting).await;
            Ok(rows)
        }
        Some(failed) => failed,
        None => Err(CommandError::failed(cancel(&mut jobs, id).await)),
    }
}

/// Cancels a job; answers what is to be said about it.
async fn cancel(jobs: &mut UsageJobServiceClient<Connection>, id: String) -> String {
    let cancelling = jobs.cancel_job(CancelJobRequest { job_id: id.clone() });
    match timeout(CANCEL_TIMEOUT, cancelling).await {
        Ok(Ok(job)) if job.get_ref().state() == JobState::Cancelled => {
            "interrupted; the job is cancelled".to_owned()
        }
        Ok(Ok(_)) => "interrupted".to_owned(),
        Ok(Err(status)) => {
            format!("interrupted; the job {id} cannot be cancelled: {}", describe(&status))
        }
        Err(_) => format!("interrupted; the job {id} cannot be cancelled: no answer"),
    }
}

/// A job that was started.
struct Job {
    client: UsageQueryServiceClient<Connection>,
    jobs: UsageJobServiceClient<Connection>,
    id: String,
    bar: ProgressBar,
}

impl Job {
    async fn result(&mut self, limit: u64, mut take: PageReader<'_>) -> CommandResult<u64> {
        let row_count = self.wait().await?;
        let wanted = if limit == 0 { u64::MAX } else { limit };
        let (mut read, mut after) = (0, String::new());
        loop {
            let left = usize::try_from(wanted.saturating_sub(read)).unwrap_or(usize::MAX);
            let page_size = left.clamp(1, PAGE_SIZE_MAX);
            let request = GetOrganizationAggregatesJobRequest {
                job_id: self.id.clone(),
                page_size: i32::try_from(page_size).unwrap_or(i32::MAX),
                after,
            };
            let page = self.client.get_organization_aggregates_job(request).await;
            let page = page.map_err(|error| call_failed(&error))?.into_inner();
            read += page.entities.len() as u64;
            self.bar.suspend(|| take(page.entities))?;
            let all = grouped(wanted.min(row_count));
            self.bar.set_message(format!("{} of {all} rows read", grouped(read)));
            match page.next_uri {
                Some(uri) if read < wanted => after = cursor(&uri)?,
                _ => return Ok(row_count.max(read)),
            }
        }
    }

    /// Waits for the job to succeed; answers how many rows there are.
    async fn wait(&mut self) -> CommandResult<u64> {
        let mut pause = PAUSE_FIRST;
        loop {
            let job = self.jobs.get_job(GetJobRequest { job_id: self.id.clone() }).await;
            let job = job.map_err(|error| call_failed(&error))?.into_inner();
            let state = match job.state() {
                JobState::Succeeded => return Ok(job.rows_written),
                JobState::Failed => {
                    let text = format!("the job failed: {}", job.failure);
                    return Err(CommandError::failed(text));
                }
                JobState::Cancelled => {
                    return Err(CommandError::failed("the job was cancelled by somebody else"));
                }
                JobState::Queued | JobState::Unspecified => "waiting",
                JobState::Running => "running",
            };
            self.bar.set_message(format!(
                "{state}, {} totals read, {} rows written",
                grouped(job.totals_read),
                grouped(job.rows_written)
            ));
            sleep(pause).await;
            pause = (pause * 3 / 2).min(PAUSE_MAX);
        }
    }
}

/// The cursor in the address of the next page.
fn cursor(uri: &str) -> CommandResult<String> {
    let query = uri.split_once('?').map(|(_, query)| query).unwrap_or_default();
    let mut parameters = form_urlencoded::parse(query.as_bytes());
    let found = parameters.find(|(name, _)| name == "after").map(|(_, value)| value.into_owned());
    found.ok_or_else(|| CommandError::failed("the server's address of the next page has no cursor"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_taken_out_of_an_address() {
        let uri = "/api/v2/usage/aggregates/query/jobs/1?pageSize=1000&after=a%2Bb%2F%3D";
        assert_eq!(cursor(uri).unwrap(), "a+b/=");
        assert!(cursor("/api/v2/usage/aggregates/query/jobs/1").is_err());
    }
}
