//! An example of every operation. They are checked: a test reads them as the messages that they stand for,
//! and another calls every path with them.

use serde_json::Value;

/// The file of a method: `parameters` by name, `body`, `answer`.
macro_rules! examples {
    ($($method:literal),* $(,)?) => {
        /// Method → its example, as JSON text.
        const EXAMPLES: &[(&str, &str)] =
            &[$(($method, include_str!(concat!("examples/", $method, ".json")))),*];
    };
}

examples!(
    "meterd.v1.AccessService.AddPublicKey",
    "meterd.v1.AccessService.CreateClient",
    "meterd.v1.AccessService.CreateOrganization",
    "meterd.v1.AccessService.DeleteClient",
    "meterd.v1.AccessService.GetClient",
    "meterd.v1.AccessService.ListAuditEvents",
    "meterd.v1.AccessService.ListClients",
    "meterd.v1.AccessService.ListOrganizations",
    "meterd.v1.AccessService.RemovePublicKey",
    "meterd.v1.AccessService.RotateApiKey",
    "meterd.v1.AccessService.RotateClientSecret",
    "meterd.v1.AccessService.RotateSigningKey",
    "meterd.v1.AccessService.UpdateClient",
    "meterd.v1.CatalogService.ApplyAssets",
    "meterd.v1.CatalogService.ApplyCatalog",
    "meterd.v1.CatalogService.DeleteAsset",
    "meterd.v1.CatalogService.DeleteProduct",
    "meterd.v1.CatalogService.DeleteProductInstance",
    "meterd.v1.CatalogService.GetAsset",
    "meterd.v1.CatalogService.GetProduct",
    "meterd.v1.CatalogService.GetProductInstance",
    "meterd.v1.CatalogService.ListAssets",
    "meterd.v1.CatalogService.ListProductInstances",
    "meterd.v1.CatalogService.ListProducts",
    "meterd.v1.UsageBatchService.GetUsageBatch",
    "meterd.v1.UsageBatchService.ReportUsageBatch",
    "meterd.v1.UsageIngestService.RecordApiUsage",
    "meterd.v1.UsageJobService.CancelJob",
    "meterd.v1.UsageJobService.DeleteJob",
    "meterd.v1.UsageJobService.GetJob",
    "meterd.v1.UsageQueryService.CreateClientAggregatesJob",
    "meterd.v1.UsageQueryService.CreateOrganizationAggregatesJob",
    "meterd.v1.UsageQueryService.GetClientAggregatesJob",
    "meterd.v1.UsageQueryService.GetClientQueryResult",
    "meterd.v1.UsageQueryService.GetOrganizationAggregatesJob",
    "meterd.v1.UsageQueryService.GetOrganizationQueryResult",
    "meterd.v1.UsageQueryService.GetSimpleSearchResult",
    "meterd.v1.UsageQueryService.StartClientQuery",
    "meterd.v1.UsageQueryService.StartClientSummary",
    "meterd.v1.UsageQueryService.StartOrganizationQuery",
    "meterd.v1.UsageQueryService.StartSimpleSearch",
    "meterd.v1.UsageReportService.ExportUsageRecords",
    "meterd.v1.UsageReportService.GetUsageRecord",
    "meterd.v1.UsageReportService.ListUsageRecords",
    "meterd.v1.UsageReportService.QueryAssetUsage",
    "meterd.v1.UsageReportService.QueryProductUsage",
    "yandex.cloud.endpoint.ApiEndpointService.Get",
    "yandex.cloud.endpoint.ApiEndpointService.List",
    "yandex.cloud.iam.v1.IamTokenService.Create",
    "yandex.cloud.iam.v1.IamTokenService.CreateForServiceAccount",
    "yandex.cloud.iam.v1.IamTokenService.Revoke",
    "yandex.cloud.marketplace.metering.v1.ImageProductUsageService.Write",
    "yandex.cloud.marketplace.metering.v1.ProductUsageService.Write",
    "yandex.cloud.marketplace.v1.metering.ImageProductUsageService.Write",
);

/// A call and its answer.
#[derive(Debug)]
pub(super) struct Example(Value);

impl Example {
    /// The example of a method, if it has one.
    pub(super) fn of(method: &str) -> Option<Self> {
        let (_, text) = EXAMPLES.iter().find(|(name, _)| *name == method)?;
        serde_json::from_str(text).ok().map(Self)
    }

    /// A path variable or a query parameter.
    pub(super) fn parameter(&self, name: &str) -> Option<&Value> {
        self.0.get("parameters")?.get(name)
    }

    /// The request's body.
    pub(super) fn body(&self) -> Option<&Value> {
        self.0.get("body")
    }

    /// The answer's body.
    pub(super) fn answer(&self) -> Option<&Value> {
        self.0.get("answer")
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_reflect::{DescriptorPool, DynamicMessage};

    use super::*;
    use crate::api::{
        pb,
        rest::{
            dialect::{DIALECTS, UnknownMembers},
            fuzzing::{read_alike, written_alike},
            json, query,
            rule::{self, BodyRule},
        },
    };

    /// Their examples have a choice, or members that have no quick way.
    const LIBRARY_READS: &[&str] = &["yandex.cloud.iam.v1.IamTokenService.Create"];

    #[test]
    fn every_operation_has_an_example_that_is_true() {
        let pool = DescriptorPool::decode(pb::DESCRIPTOR_SET).unwrap();
        let bindings = rule::bindings(&pool, DIALECTS).unwrap();
        for binding in &bindings {
            let name = binding.method.full_name();
            let example = Example::of(name).unwrap_or_else(|| panic!("{name} has no example"));
            let read = |value: &Value, descriptor| {
                json::message(value.to_string().as_bytes(), &descriptor, UnknownMembers::Refuse)
                    .unwrap_or_else(|violation| panic!("{name}: {violation:?}"))
            };
            match &binding.body {
                BodyRule::Nothing => assert!(example.body().is_none(), "{name} has no body"),
                BodyRule::Whole => {
                    read(example.body().unwrap(), binding.method.input());
                }
                BodyRule::Field(_) => assert!(example.body().is_some(), "{name} has a body"),
            }
            // What is answered, member by member: all of them, in the spelling of the answer.
            let answer = example.answer().unwrap_or_else(|| panic!("{name} answers"));
            let answered = match &binding.response_body {
                None => binding.method.output(),
                Some(field) => field.kind().as_message().unwrap().clone(),
            };
            let message: DynamicMessage = read(answer, answered);
            let options = binding.dialect.serialize_options();
            let written =
                message.serialize_with_options(serde_json::value::Serializer, &options).unwrap();
            assert_eq!(&written, answer, "{name}");
            // Parameters exist.
            let known: Vec<String> = query::parameters(binding)
                .iter()
                .chain(&binding.path_fields)
                .map(|fields| {
                    fields.iter().map(|field| field.json_name()).collect::<Vec<_>>().join(".")
                })
                .collect();
            let parameters = example.0.get("parameters").and_then(Value::as_object);
            for parameter in parameters.into_iter().flatten().map(|(name, _)| name) {
                assert!(known.contains(parameter), "{name} has no parameter {parameter}");
            }
            // And they are common, so they must not need the library.
            if let Some(plan) = &binding.quick_request {
                let body = example.body().unwrap().to_string();
                let quick = read_alike(plan, &binding.method.input(), body.as_bytes());
                assert_eq!(quick, !LIBRARY_READS.contains(&name), "{name}");
            }
            if binding.quick_answer.is_some() {
                let bytes = read(answer, binding.method.output()).encode_to_vec();
                assert!(written_alike(binding, &bytes), "{name}");
            }
        }
        assert_eq!(EXAMPLES.len(), {
            let mut methods: Vec<_> =
                bindings.iter().map(|binding| binding.method.full_name()).collect();
            methods.dedup();
            methods.len()
        });
    }
}
