//! Requests at the token endpoint: forms, and credentials in a header.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::request::{Asked, Grant, TokenRequest};
use crate::domain::fuzzing::{Choices, made_up};

const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// Whoever says who he is, by header or in the form, is taken at his word and at no other; anything else is refused.
///
/// # Panics
/// If not.
pub(in crate::api) fn token_requests(input: &[u8]) {
    let mut choices = Choices::new(input);
    match choices.pick(3) {
        0 => said(&mut choices),
        1 => header_bytes(&mut choices),
        _ => form(choices.rest()),
    }
}

fn headers(authorization: Option<HeaderValue>) -> HeaderMap {
    let mut headers = HeaderMap::from_iter([(header::CONTENT_TYPE, FORM)]);
    headers.extend(authorization.map(|value| (header::AUTHORIZATION, value)));
    headers
}

fn basic(credentials: &[u8]) -> HeaderValue {
    let encoded = format!("Basic {}", STANDARD.encode(credentials));
    encoded.try_into().expect("visible ASCII")
}

fn said(choices: &mut Choices<'_>) {
    let (client_id, secret, refresh) =
        (made_up::name(choices), made_up::name(choices), made_up::name(choices));
    let is_refresh = choices.once_in(2);
    let grant = if is_refresh { Grant::Refresh(refresh.clone()) } else { Grant::ClientCredentials };
    let is_whole = !(client_id.is_empty() || secret.is_empty() || is_refresh && refresh.is_empty());
    let expected = TokenRequest { client_id: client_id.clone(), secret: secret.clone(), grant };
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", if is_refresh { "refresh_token" } else { "client_credentials" });
    form.append_pair("refresh_token", &refresh);
    form.append_pair("of another standard", "&=");

    let escaped = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let credentials = format!("{}:{}", escaped(&client_id), escaped(&secret));
    let by_header = headers(Some(basic(credentials.as_bytes())));
    let mut in_form = form_urlencoded::Serializer::new(form.finish());
    let body = in_form.append_pair("scope", "x").finish();
    let asked = TokenRequest::read(&by_header, body.as_bytes());
    assert_eq!(asked.is_ok(), is_whole, "{body}");
    assert!(asked.is_err() || asked == Ok(Asked::WithSecret(expected.clone())), "{body}");

    let mut in_form = form_urlencoded::Serializer::new(body);
    in_form.append_pair("client_id", &client_id).append_pair("client_secret", &secret);
    let body = in_form.finish();
    let asked = TokenRequest::read(&headers(None), body.as_bytes());
    assert_eq!(asked.is_ok(), is_whole, "{body}");
    assert!(asked.is_err() || asked == Ok(Asked::WithSecret(expected)), "{body}");
    // By header and in the form.
    let asked = TokenRequest::read(&by_header, body.as_bytes());
    assert!(secret.is_empty() || asked.is_err(), "{body}");
}

fn header_bytes(choices: &mut Choices<'_>) {
    let bytes = choices.rest();
    let values = [HeaderValue::from_bytes(bytes).ok(), Some(basic(bytes))];
    for value in values.into_iter().flatten() {
        let asked = TokenRequest::read(&headers(Some(value)), b"grant_type=client_credentials");
        if let Ok(Asked::WithSecret(request)) = asked {
            assert!(!request.client_id.is_empty() && !request.secret.is_empty());
        }
    }
}

fn form(body: &[u8]) {
    match TokenRequest::read(&headers(None), body) {
        Ok(Asked::WithSecret(request)) => {
            let given = |name: &str, value: &str| {
                form_urlencoded::parse(body)
                    .filter(|pair| *pair == (name.into(), value.into()))
                    .count()
            };
            assert_eq!(given("client_id", &request.client_id), 1);
            assert_eq!(given("client_secret", &request.secret), 1);
        }
        Ok(Asked::WithAssertion(assertion)) => assert!(!assertion.is_empty()),
        Err(_) => {}
    }
    assert!(TokenRequest::read(&HeaderMap::new(), body).is_err(), "a form without its type");
}
