//! From the claims of an outside issuer's token to who is calling.

use serde_json::{Map, Value};

use crate::{
    auth::{OPERATOR_ORGANIZATION, Principal},
    domain::{
        caller::Caller,
        id::{ClientId, OrganizationId},
        permission::Permission,
    },
};

/// Which organization a token is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrganizationSource {
    /// The one that a claim names.
    Claim(String),
    /// Always this one.
    Fixed(OrganizationId),
}

/// Where claims are found: by their name, or, if there is none of that name, by a path with dots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimMapping {
    /// The organization.
    pub organization: OrganizationSource,
    /// The claim with the client's id.
    pub client: String,
    /// The claim with the permissions: a list, or a text with spaces between them. Others than ours are
    /// passed over.
    pub permissions: String,
    /// Whether tokens may make operators, who administer the whole server.
    pub allows_operators: bool,
}

/// What a genuine token lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// The organization.
    #[error("it names no organization")]
    NoOrganization,
    /// The client.
    #[error(
        "it names no client, or one whose name is longer than 255 bytes or has invisible characters"
    )]
    NoClient,
    /// It would make its bearer an operator.
    #[error(
        "it is for the organization {OPERATOR_ORGANIZATION:?} with access:admin, which makes an operator; this server does not allow that (--oidc-allow-operators)"
    )]
    Operator,
    /// A registered client has the id of its principal.
    #[error("a registered client has the id of its principal")]
    RegisteredClient,
    /// It is an ID token: that says who signed in somewhere, and is not for calls.
    #[error("it is an ID token or of another type than at+jwt or JWT; send an access token")]
    NotForCalls,
    /// Its header has extensions that must be understood (RFC 7515, section 4.1.11).
    #[error("its header has `crit`, and no extension is known here")]
    Critical,
    /// Its organization is not known here.
    #[error("its organization does not exist here")]
    UnknownOrganization,
    /// Its time is not now.
    #[error("it has expired, or is not valid yet")]
    NotNow,
    /// It is for somebody else.
    #[error(
        "it is of another issuer or for another audience, or does not say until when it is valid"
    )]
    NotForUs,
}

impl ClaimMapping {
    /// Who the claims say is calling.
    pub(super) fn principal(&self, claims: &Map<String, Value>) -> Result<Principal, ClaimError> {
        let organization = match &self.organization {
            OrganizationSource::Fixed(organization) => organization.clone(),
            OrganizationSource::Claim(name) => find(claims, name)
                .and_then(Value::as_str)
                .and_then(|text| OrganizationId::new(text).ok())
                .ok_or(ClaimError::NoOrganization)?,
        };
        let client = find(claims, &self.client)
            .and_then(Value::as_str)
            .and_then(|text| ClientId::of_outside(text).ok())
            .ok_or(ClaimError::NoClient)?;
        let permissions = match find(claims, &self.permissions) {
            Some(Value::String(text)) => known(text.split_ascii_whitespace()),
            Some(Value::Array(list)) => known(list.iter().filter_map(Value::as_str)),
            _ => Vec::new(),
        };
        let is_operator = organization.as_str() == OPERATOR_ORGANIZATION
            && permissions.contains(&Permission::AccessAdmin);
        if is_operator && !self.allows_operators {
            return Err(ClaimError::Operator);
        }
        Ok(Principal { caller: Caller { organization, client }, permissions: permissions.into() })
    }
}

fn known<'a>(names: impl Iterator<Item = &'a str>) -> Vec<Permission> {
    names.filter_map(|name| name.parse().ok()).collect()
}

/// Names with dots are tried whole first: namespaced claims are URLs.
fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let (first, rest) = name.split_once('.')?;
    find(claims.get(first)?.as_object()?, rest)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mapping(organization: &str) -> ClaimMapping {
        ClaimMapping {
            organization: OrganizationSource::Claim(organization.into()),
            client: "sub".into(),
            permissions: "scope".into(),
            allows_operators: false,
        }
    }

    fn principal(
        mapping: &ClaimMapping,
        claims: &Value,
    ) -> Result<(String, Vec<String>), ClaimError> {
        let principal = mapping.principal(claims.as_object().unwrap())?;
        let caller = &principal.caller;
        Ok((
            format!("{}/{}", caller.organization, caller.client),
            principal.permissions.iter().map(ToString::to_string).collect(),
        ))
    }

    #[test]
    fn claims_are_found_by_name_and_by_path() {
        let claims = json!({
            "sub": "agent",
            "org": "acme",
            "https://example.com/org": "namespaced",
            "realm": {"org": "nested"},
            "scope": "openid usage:product:view usage:product:write",
        });
        let both = vec!["usage:product:view".to_owned(), "usage:product:write".into()];
        for (name, caller) in [
            ("org", "acme/oidc:agent"),
            ("https://example.com/org", "namespaced/oidc:agent"),
            ("realm.org", "nested/oidc:agent"),
        ] {
            assert_eq!(principal(&mapping(name), &claims), Ok((caller.into(), both.clone())));
        }
        for name in ["none", "realm", "realm.none", "org.x"] {
            assert_eq!(
                principal(&mapping(name), &claims),
                Err(ClaimError::NoOrganization),
                "{name}"
            );
        }
        let fixed = ClaimMapping {
            organization: OrganizationSource::Fixed(OrganizationId::new("fixed").unwrap()),
            permissions: "roles".into(),
            ..mapping("org")
        };
        assert_eq!(principal(&fixed, &claims), Ok(("fixed/oidc:agent".into(), Vec::new())));
        let list = json!({"sub": "agent", "roles": ["catalog:view", 7, "other"]});
        assert_eq!(
            principal(&fixed, &list),
            Ok(("fixed/oidc:agent".into(), vec!["catalog:view".into()]))
        );
        assert!(principal(&fixed, &json!({"sub": "x".repeat(255)})).is_ok());
        for sub in [
            json!(null),
            json!(7),
            json!(""),
            json!("x".repeat(256)),
            json!("a\u{202E}b"),
            json!("a\nb"),
        ] {
            let claims = json!({"sub": sub});
            assert_eq!(principal(&fixed, &claims), Err(ClaimError::NoClient), "{claims}");
        }
    }

    #[test]
    fn operators_are_made_only_where_that_is_allowed() {
        let administrator = json!({"sub": "agent", "org": "default", "scope": "access:admin"});
        let viewer = json!({"sub": "agent", "org": "default", "scope": "catalog:view"});
        let of_another = json!({"sub": "agent", "org": "acme", "scope": "access:admin"});
        let strict = mapping("org");
        assert_eq!(principal(&strict, &administrator), Err(ClaimError::Operator));
        assert!(principal(&strict, &viewer).is_ok());
        assert!(principal(&strict, &of_another).is_ok());
        let trusting = ClaimMapping { allows_operators: true, ..strict };
        assert!(principal(&trusting, &administrator).is_ok());
    }
}
