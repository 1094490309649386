//! The admin listener: probes and metrics, apart from the API so that a scrape never competes with it.

use std::sync::Arc;

use axum::{Router, extract::State, response::IntoResponse, routing::get};
use http::{StatusCode, header};
use tokio::sync::watch;

use crate::{
    api::metrics::Metrics,
    service::{
        access::Access,
        audit::AuditTrail,
        catalogs::Catalogs,
        committer::Committer,
        disk_reserve::{BelowReserve, DiskReserve},
        usage_queries::UsageQueries,
    },
    store::{StoreStatus, UsageStore},
};

/// The media type of the OpenMetrics text format.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the admin pages tell of.
#[derive(Clone)]
pub(super) struct Admin {
    pub(super) store: Arc<dyn UsageStore>,
    pub(super) committer: Arc<Committer>,
    pub(super) access: Arc<Access>,
    pub(super) catalogs: Arc<Catalogs>,
    pub(super) audit: Arc<AuditTrail>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) queries: Arc<UsageQueries>,
    pub(super) disk: Arc<DiskReserve>,
    pub(super) draining: watch::Receiver<bool>,
}

pub(super) fn admin_router(admin: Admin) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics))
        .fallback(|| async {
            (StatusCode::NOT_FOUND, "there are /healthz, /readyz and /metrics\n")
        })
        .with_state(admin)
}

async fn readiness(State(admin): State<Admin>) -> (StatusCode, String) {
    if *admin.draining.borrow() {
        return (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n".into());
    }
    match admin.store.status() {
        StoreStatus::Ready if admin.committer.is_running() => {
            let warning = match admin.disk.latest() {
                Some(reading) if reading.is_below() => {
                    format!("warning: {}\n", BelowReserve(reading))
                }
                _ => String::new(),
            };
            (StatusCode::OK, format!("ready\n{warning}"))
        }
        StoreStatus::Ready => {
            (StatusCode::SERVICE_UNAVAILABLE, "the committer has stopped; restart meterd\n".into())
        }
        StoreStatus::Failed(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!(
                "the store refuses writes: {reason}\nfree space or repair the disk, then restart meterd\n"
            ),
        ),
    }
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let writable = admin.store.status() == StoreStatus::Ready;
    admin.metrics.observe(&admin.store.statistics(), writable, admin.committer.queued_records());
    admin.metrics.observe_reads(&admin.committer.reads().statistics());
    admin.metrics.kept.observe(admin.access.size(), admin.catalogs.size());
    admin.metrics.observe_audit(&admin.audit.figures());
    admin.metrics.observe_queries(&admin.queries.statistics());
    admin.metrics.observe_disk(admin.disk.latest());
    match admin.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
