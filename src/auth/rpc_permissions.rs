//! Which permissions each method needs: any one of those listed. A test fails when a method of the
//! protos has no row.

use super::Permission;

/// Who may call a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody, without credentials: the method tells nothing about any organization.
    Open,
    /// Authenticated callers with one of these permissions.
    AnyOf(&'static [Permission]),
}

const WRITE_PRODUCT: Access = Access::AnyOf(&[Permission::UsageProductWrite]);
const VIEW_PRODUCT: Access = Access::AnyOf(&[Permission::UsageProductView]);
const REPORT_ASSETS: Access = Access::AnyOf(&[Permission::UsageAssetReport]);
const VIEW_ASSETS: Access = Access::AnyOf(&[Permission::UsageAssetView]);
const WRITE_API: Access = Access::AnyOf(&[Permission::UsageApiWrite]);
const VIEW_BATCHES: Access =
    Access::AnyOf(&[Permission::UsageAssetReport, Permission::UsageAssetView]);
// As the vendor has them.
const VIEW_ORGANIZATION: Access =
    Access::AnyOf(&[Permission::OauthClientView, Permission::UsageOrganizationView]);
const VIEW_CLIENT: Access =
    Access::AnyOf(&[Permission::OauthClientView, Permission::UsageClientView]);
const SEARCH: Access =
    Access::AnyOf(&[Permission::OauthClientView, Permission::UsageSimpleSearchView]);
const ORGANIZATION_JOBS: Access = Access::AnyOf(&[Permission::UsageOrganizationView]);
const CLIENT_JOBS: Access = Access::AnyOf(&[Permission::UsageClientView]);
const ANY_QUERY: Access = Access::AnyOf(&[
    Permission::OauthClientView,
    Permission::UsageClientView,
    Permission::UsageOrganizationView,
    Permission::UsageSimpleSearchView,
]);
const VIEW_CATALOG: Access = Access::AnyOf(&[Permission::CatalogView, Permission::CatalogAdmin]);
const ADMINISTER_ACCESS: Access = Access::AnyOf(&[Permission::AccessAdmin]);
const CHANGE_CATALOG: Access = Access::AnyOf(&[Permission::CatalogAdmin]);

/// Method path → who may call it.
pub const RPC_ACCESS: &[(&str, Access)] = &[
    ("/yandex.cloud.marketplace.v1.metering.ImageProductUsageService/Write", WRITE_PRODUCT),
    ("/yandex.cloud.marketplace.metering.v1.ImageProductUsageService/Write", WRITE_PRODUCT),
    ("/yandex.cloud.marketplace.metering.v1.ProductUsageService/Write", WRITE_PRODUCT),
    ("/meterd.v1.UsageIngestService/StreamProductUsage", WRITE_PRODUCT),
    ("/meterd.v1.UsageIngestService/RecordApiUsage", WRITE_API),
    ("/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs", WRITE_API),
    ("/meterd.v1.UsageQueryService/StartOrganizationQuery", VIEW_ORGANIZATION),
    ("/meterd.v1.UsageQueryService/GetOrganizationQueryResult", VIEW_ORGANIZATION),
    ("/meterd.v1.UsageQueryService/StartClientQuery", VIEW_CLIENT),
    ("/meterd.v1.UsageQueryService/StartClientSummary", VIEW_CLIENT),
    ("/meterd.v1.UsageQueryService/GetClientQueryResult", VIEW_CLIENT),
    ("/meterd.v1.UsageQueryService/StartSimpleSearch", SEARCH),
    ("/meterd.v1.UsageQueryService/GetSimpleSearchResult", SEARCH),
    ("/meterd.v1.UsageQueryService/CreateOrganizationAggregatesJob", ORGANIZATION_JOBS),
    ("/meterd.v1.UsageQueryService/GetOrganizationAggregatesJob", ORGANIZATION_JOBS),
    ("/meterd.v1.UsageQueryService/CreateClientAggregatesJob", CLIENT_JOBS),
    ("/meterd.v1.UsageQueryService/GetClientAggregatesJob", CLIENT_JOBS),
    ("/meterd.v1.UsageJobService/GetJob", ANY_QUERY),
    ("/meterd.v1.UsageJobService/CancelJob", ANY_QUERY),
    ("/meterd.v1.UsageJobService/DeleteJob", ANY_QUERY),
    ("/meterd.v1.UsageReportService/QueryProductUsage", VIEW_PRODUCT),
    ("/meterd.v1.UsageBatchService/ReportUsageBatch", REPORT_ASSETS),
    ("/meterd.v1.UsageBatchService/GetUsageBatch", VIEW_BATCHES),
    ("/meterd.v1.UsageReportService/QueryAssetUsage", VIEW_ASSETS),
    ("/meterd.v1.UsageReportService/ExportUsageRecords", VIEW_PRODUCT),
    ("/meterd.v1.UsageReportService/ListUsageRecords", VIEW_PRODUCT),
    ("/meterd.v1.UsageReportService/GetUsageRecord", VIEW_PRODUCT),
    ("/meterd.v1.CatalogService/ApplyCatalog", CHANGE_CATALOG),
    ("/meterd.v1.CatalogService/ListProducts", VIEW_CATALOG),
    ("/meterd.v1.CatalogService/GetProduct", VIEW_CATALOG),
    ("/meterd.v1.CatalogService/DeleteProduct", CHANGE_CATALOG),
    ("/meterd.v1.CatalogService/ListProductInstances", VIEW_CATALOG),
    ("/meterd.v1.CatalogService/GetProductInstance", VIEW_CATALOG),
    ("/meterd.v1.CatalogService/DeleteProductInstance", CHANGE_CATALOG),
    ("/meterd.v1.CatalogService/ApplyAssets", CHANGE_CATALOG),
    ("/meterd.v1.CatalogService/ListAssets", VIEW_CATALOG),
    ("/meterd.v1.CatalogService/GetAsset", VIEW_CATALOG),
    ("/meterd.v1.CatalogService/DeleteAsset", CHANGE_CATALOG),
    ("/meterd.v1.AccessService/CreateOrganization", ADMINISTER_ACCESS),
    ("/meterd.v1.AccessService/ListOrganizations", ADMINISTER_ACCESS),
    ("/meterd.v1.AccessService/CreateClient", ADMINISTER_ACCESS),
    ("/meterd.v1.AccessService/ListClients", ADMINISTER_ACCESS),
    ("/meterd.v1.AccessService/GetClient", ADMINISTER_ACCESS),
    ("/meterd.v1.AccessService/UpdateClient", ADMINISTER_ACCESS),
    ("/meterd.v1.AccessService/RotateClientSecret", ADMINISTER_ACCESS),
    ("/meterd.v1.AccessService/RotateApiKey", ADMINISTER_ACCESS),
    ("/meterd.v1.AccessService/AddPublicKey", ADMINISTER_ACCESS),
    ("/meterd.v1.AccessService/RemovePublicKey", ADMINISTER_ACCESS),
    ("/meterd.v1.AccessService/DeleteClient", ADMINISTER_ACCESS),
    ("/meterd.v1.AccessService/RotateSigningKey", ADMINISTER_ACCESS),
    ("/meterd.v1.AccessService/ListAuditEvents", ADMINISTER_ACCESS),
    ("/meterd.v1.StoreService/StreamBackup", ADMINISTER_ACCESS),
    ("/meterd.v1.StoreService/GetLogHead", ADMINISTER_ACCESS),
    // For those who are about to sign in.
    ("/yandex.cloud.endpoint.ApiEndpointService/Get", Access::Open),
    ("/yandex.cloud.endpoint.ApiEndpointService/List", Access::Open),
    ("/yandex.cloud.iam.v1.IamTokenService/Create", Access::Open),
    ("/yandex.cloud.iam.v1.IamTokenService/CreateForServiceAccount", Access::Open),
    ("/yandex.cloud.iam.v1.IamTokenService/Revoke", Access::Open),
    ("/grpc.health.v1.Health/Check", Access::Open),
    ("/grpc.health.v1.Health/List", Access::Open),
    ("/grpc.health.v1.Health/Watch", Access::Open),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Access::Open),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Access::Open),
];

/// Methods whose callers send a stream.
pub const CLIENT_STREAMS: &[&str] = &[
    "/meterd.v1.UsageIngestService/StreamProductUsage",
    "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Methods that stream either way, so that their callers decide how long they take.
pub const STREAMS: &[&str] = &[
    "/meterd.v1.UsageIngestService/StreamProductUsage",
    "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs",
    "/meterd.v1.UsageReportService/ExportUsageRecords",
    "/meterd.v1.StoreService/StreamBackup",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// The row of a method; `None` if there is no such method.
#[must_use]
pub fn find(path: &str) -> Option<&'static (&'static str, Access)> {
    RPC_ACCESS.get(row_of(path)?)
}

/// The number of a method's row, from 0.
#[must_use]
pub fn row_of(path: &str) -> Option<usize> {
    // A handful of string comparisons of different lengths: cheaper than hashing the path.
    RPC_ACCESS.iter().position(|(known, _)| *known == path)
}
