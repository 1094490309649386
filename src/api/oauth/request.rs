//! What a client asks the token endpoint.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, header};

use super::TokenError;

/// What a token is asked in exchange for, besides the client's secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Grant {
    /// Nothing else.
    ClientCredentials,
    /// An earlier refresh token.
    Refresh(String),
}

/// The grant of RFC 7523: an assertion is both who one is and what the token is asked for.
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Who asks, and how it proves that.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// With a secret.
    WithSecret(TokenRequest),
    /// With a signed assertion.
    WithAssertion(String),
}

/// A request that is of the right form.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct TokenRequest {
    pub(super) client_id: String,
    pub(super) secret: String,
    pub(super) grant: Grant,
}

impl TokenRequest {
    /// Reads the form, and the credentials in it or in the header.
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Asked, TokenError> {
        let is_form = headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|value| {
                value.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
            });
        if !is_form {
            return Err(TokenError::Request("the body must be application/x-www-form-urlencoded"));
        }
        let form = Form::read(body)?;
        if form.grant_type.as_deref() == Some(JWT_BEARER) {
            let missing = TokenError::Request("assertion is missing");
            return form.assertion.map(Asked::WithAssertion).ok_or(missing);
        }
        let (client_id, secret) = match (basic(headers)?, form.client_secret) {
            (Some(_), Some(_)) => {
                return Err(TokenError::Request(
                    "the client authenticates twice: by header and in the form",
                ));
            }
            (Some((id, secret)), None) => (id, secret),
            (None, secret) => (form.client_id.unwrap_or_default(), secret.unwrap_or_default()),
        };
        if client_id.is_empty() || secret.is_empty() {
            // Not a mistake of form: RFC 6749 has it among those of the client.
            return Err(TokenError::Client);
        }
        let grant = match form.grant_type.as_deref() {
            Some("client_credentials") => Grant::ClientCredentials,
            Some("refresh_token") => Grant::Refresh(
                form.refresh_token.ok_or(TokenError::Request("refresh_token is missing"))?,
            ),
            Some(_) => return Err(TokenError::GrantType),
            None => return Err(TokenError::Request("grant_type is missing")),
        };
        Ok(Asked::WithSecret(Self { client_id, secret, grant }))
    }
}

#[derive(Default)]
struct Form {
    grant_type: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    refresh_token: Option<String>,
    assertion: Option<String>,
}

impl Form {
    fn read(body: &[u8]) -> Result<Self, TokenError> {
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            let place = match &*name {
                "grant_type" => &mut form.grant_type,
                "client_id" => &mut form.client_id,
                "client_secret" => &mut form.client_secret,
                "refresh_token" => &mut form.refresh_token,
                "assertion" => &mut form.assertion,
                // RFC 6749, section 3.2: what is not known is ignored.
                _ => continue,
            };
            // The same section: sent without a value is not sent, and nothing may come twice.
            if value.is_empty() {
                continue;
            }
            if place.replace(value.into_owned()).is_some() {
                return Err(TokenError::Request("a parameter is given twice"));
            }
        }
        Ok(form)
    }
}

/// The client's id and secret from `Authorization: Basic`; both are form-encoded (RFC 6749, section 2.3.1).
fn basic(headers: &HeaderMap) -> Result<Option<(String, String)>, TokenError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(TokenError::Request("the header authorization comes more than once"));
    }
    let (scheme, encoded) =
        value.as_bytes().split_at_checked("Basic ".len()).ok_or(TokenError::Client)?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return Err(TokenError::Client);
    }
    let decoded = STANDARD.decode(encoded).map_err(|_| TokenError::Client)?;
    let text = String::from_utf8(decoded).map_err(|_| TokenError::Client)?;
    let (id, secret) = text.split_once(':').ok_or(TokenError::Client)?;
    let plain = |text: &str| {
        let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
        decoded.map(|text| text.into_owned()).map_err(|_| TokenError::Client)
    };
    Ok(Some((plain(id)?, plain(secret)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(authorization: Option<&str>, body: &str) -> Result<Asked, TokenError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, "application/x-www-form-urlencoded".parse().unwrap());
        if let Some(authorization) = authorization {
            headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        }
        TokenRequest::read(&headers, body.as_bytes())
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[test]
    fn both_ways_to_say_who_one_is() {
        let expected = |id: &str, secret: &str, grant| {
            Ok(Asked::WithSecret(TokenRequest {
                client_id: id.into(),
                secret: secret.into(),
                grant,
            }))
        };
        let form = "grant_type=client_credentials&client_id=agent&client_secret=s%2Bt&scope=x";
        assert!(read(None, form) == expected("agent", "s+t", Grant::ClientCredentials));
        let header = basic("my%20agent:s:t");
        let body = "grant_type=client_credentials&client_secret=";
        assert!(read(Some(&header), body) == expected("my agent", "s:t", Grant::ClientCredentials));
        let refresh = "grant_type=refresh_token&refresh_token=abc";
        assert!(
            read(Some(&header), refresh)
                == expected("my agent", "s:t", Grant::Refresh("abc".into()))
        );
    }

    #[test]
    fn an_assertion_needs_nothing_beside_it() {
        let body = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
        let with = format!("{body}&assertion=a.b.c");
        assert!(read(None, &with) == Ok(Asked::WithAssertion("a.b.c".into())));
        assert!(matches!(read(None, body), Err(TokenError::Request(_))));
    }

    #[test]
    fn what_is_wrong_is_told_as_the_rfc_has_it() {
        let ok = basic("agent:secret");
        for (authorization, body, expected) in [
            (None, "grant_type=client_credentials", "Client"),
            (None, "grant_type=client_credentials&client_id=agent", "Client"),
            (Some("Bearer x"), "grant_type=client_credentials", "Client"),
            (Some("Basic !"), "grant_type=client_credentials", "Client"),
            (Some(ok.as_str()), "", "Request"),
            (Some(ok.as_str()), "grant_type=client_credentials&client_secret=x", "Request"),
            (Some(ok.as_str()), "grant_type=a&grant_type=b", "Request"),
            (Some(ok.as_str()), "grant_type=refresh_token", "Request"),
            (Some(ok.as_str()), "grant_type=password", "GrantType"),
        ] {
            let error = read(authorization, body).map(|_| ()).unwrap_err();
            assert!(format!("{error:?}").starts_with(expected), "{body}: {error:?}");
        }
        assert!(TokenRequest::read(&HeaderMap::new(), b"grant_type=client_credentials").is_err());
    }
}
