//! Every limit of the domain, by name. Limits of the wire (message sizes, in-flight calls) are
//! configuration and live with the server.

/// Longest identifier of a product, SKU, product instance, client or organization, in characters
/// (vendor rule: `length <= 50`).
pub const ID_CHARS_MAX: usize = 50;

/// Longest subject of an outside issuer's token, in bytes (OpenID Connect: 255 ASCII characters).
pub const OUTSIDE_SUBJECT_BYTES_MAX: usize = 255;

/// Longest id of a usage batch, in characters. The vendor names no limit; ids are commonly UUIDs.
pub const BATCH_ID_CHARS_MAX: usize = 128;

/// Most usages in one batch (vendor rule).
pub const BATCH_USAGES_MAX: usize = 1000;

/// Largest quantity of one usage in a batch: the vendor's field has 32 bits.
pub const BATCH_QUANTITY_MAX: i64 = i32::MAX as i64;

/// Longest spelling of a usage date, in characters.
pub const DATE_TEXT_CHARS_MAX: usize = 100;

/// Longest template of an API's path, in characters.
pub const TEMPLATE_URI_CHARS_MAX: usize = 200;

/// Longest name of an HTTP method that a report may carry, in characters.
pub const METHOD_CHARS_MAX: usize = 16;

/// Most events in one report of API usage.
pub const API_EVENTS_MAX: usize = 1000;

/// Most calls that one event of API usage may stand for.
pub const API_EVENT_CALLS_MAX: i64 = 1_000_000_000;

/// Most assets in one catalog change.
pub const ASSETS_PER_APPLY_MAX: usize = 1000;

/// Longest spelling of a record uuid that a request may carry, in characters (vendor rule).
pub const UUID_TEXT_CHARS_MAX: usize = 36;

/// Most records in one unary write (vendor rule).
pub const WRITE_RECORDS_MAX: usize = 25;

/// Most records in one message of the usage stream.
pub const STREAM_RECORDS_MAX: usize = 1000;

/// Longest display name in the catalog, in characters.
pub const NAME_CHARS_MAX: usize = 256;

/// Longest usage unit of a SKU, in characters.
pub const USAGE_UNIT_CHARS_MAX: usize = 64;

/// Most SKUs of one product.
pub const SKUS_PER_PRODUCT_MAX: usize = 1000;

/// Most products, SKUs and product instances in one catalog change, all counted together.
pub const CATALOG_ENTRIES_PER_APPLY_MAX: usize = 10_000;

/// Most products of one organization, unless `serve` says otherwise.
pub const ORGANIZATION_PRODUCTS_MAX_DEFAULT: usize = 10_000;

/// Most SKUs of one organization, unless `serve` says otherwise.
pub const ORGANIZATION_SKUS_MAX_DEFAULT: usize = 100_000;

/// Most product instances of one organization, unless `serve` says otherwise.
pub const ORGANIZATION_INSTANCES_MAX_DEFAULT: usize = 100_000;

/// Most clients of one organization, unless `serve` says otherwise.
pub const ORGANIZATION_CLIENTS_MAX_DEFAULT: usize = 1_000;

/// Most organizations, unless `serve` says otherwise.
pub const ORGANIZATIONS_MAX_DEFAULT: usize = 100_000;

/// Rows of a page when the caller does not say.
pub const PAGE_SIZE_DEFAULT: usize = 100;

/// Most rows of a page.
pub const PAGE_SIZE_MAX: usize = 1000;

/// Most values in one filter list of a query.
pub const FILTER_VALUES_MAX: usize = 100;

/// Longest interval of a usage query, in days (ten years and the leap days in them).
pub const QUERY_DAYS_MAX: i64 = 3660;

/// Most rows a usage query may produce over all of its pages.
pub const QUERY_ROWS_MAX: usize = 200_000;

/// Longest `accept-past` a server may be configured with, in days. Log records hold usage times as
/// 64-bit nanoseconds; ten years keeps them far from the end of that range.
pub const ACCEPT_PAST_DAYS_MAX: u64 = 3660;

/// Most secrets, and most API keys, that a client may have at once: the one in use and, after a rotation,
/// the one before it.
pub const CREDENTIALS_MAX: usize = 2;

/// Most public keys of one client, and the longest of them in bytes of PEM: together they fit a stored document.
pub const PUBLIC_KEYS_MAX: usize = 4;
/// See [`PUBLIC_KEYS_MAX`].
pub const PUBLIC_KEY_BYTES_MAX: usize = 1024;

/// Longest time, in days, for which a rotated secret or key may still be accepted.
pub const CREDENTIAL_OVERLAP_DAYS_MAX: i64 = 90;

/// Longest subject and detail of an audit event, in characters.
pub const AUDIT_TEXT_CHARS_MAX: usize = 512;
