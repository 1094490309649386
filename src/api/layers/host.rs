//! Which server a request says that it is for, and from which page it comes. Requests that name two servers are refused, and
//! in development mode, where nobody needs credentials, those that a web page made.

use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header};
use tonic::Status;

use crate::api::{origins::CrossOrigin, status};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Checks that a request names one server (RFC 9112, section 3.2; RFC 9113, section 8.3.1).
///
/// # Errors
/// INVALID_ARGUMENT.
pub(super) fn check_host(uri: &Uri, headers: &HeaderMap) -> Result<(), Status> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let Some(host) = hosts.next() else { return Ok(()) };
    if hosts.next().is_some() {
        return Err(status::ambiguous_host("the request has two headers host; send one"));
    }
    let Some(authority) = uri.authority() else { return Ok(()) };
    let default = match uri.scheme_str() {
        Some("https") => ":443",
        _ => ":80",
    };
    let named = |text: &str| text.strip_suffix(default).unwrap_or(text).to_ascii_lowercase();
    let same = host.to_str().is_ok_and(|host| named(host) == named(authority.as_str()));
    if same {
        return Ok(());
    }
    Err(status::ambiguous_host(
        "the header host names another server than the request's target; send the same",
    ))
}

/// Checks that a request in development mode was made by a program on this machine, or by a page of this server or of an
/// allowed origin. A browser sends what a page of anybody asks it to, and after DNS rebinding under the name of that page.
///
/// # Errors
/// PERMISSION_DENIED.
pub(super) fn check_local<B>(request: &Request<B>, allowed: &CrossOrigin) -> Result<(), Status> {
    let headers = request.headers();
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let host = match request.uri().authority() {
        Some(authority) => Some(authority.as_str().to_owned()),
        None => headers.get(header::HOST).map(text),
    };
    if let Some(host) = &host
        && !is_loopback(host)
    {
        return Err(status::not_local(format!(
            "with --dev this server answers to localhost and loopback addresses only, and the request is for {host:?}; without --dev it answers to any name, and callers need credentials"
        )));
    }
    let origin = headers.get(header::ORIGIN);
    if origin.is_some_and(|origin| allowed.has(origin)) {
        return Ok(());
    }
    if let Some(origin) = origin.map(text)
        && !host.as_deref().is_some_and(|host| is_origin_of(&origin, host))
    {
        return Err(status::not_local(format!(
            "with --dev this server takes no requests of pages of other origins, and this one is of {origin:?}; --cors-origin names those that may call"
        )));
    }
    let site = headers.get(SEC_FETCH_SITE).map(text);
    match site.as_deref() {
        Some(site @ ("cross-site" | "same-site")) => Err(status::not_local(format!(
            "with --dev this server takes no requests that other pages make (sec-fetch-site: {site}); open its address directly, or name the page's origin with --cors-origin"
        ))),
        _ => Ok(()),
    }
}

fn is_origin_of(origin: &str, host: &str) -> bool {
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

/// Whether a host, with or without a port, is this machine whatever a name server says.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    if let Some(address) = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        return address.parse() == Ok(std::net::Ipv6Addr::LOCALHOST);
    }
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, headers: &[(&'static str, &'static str)]) -> Request<()> {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn requests_that_name_two_servers_are_refused() {
        let check = |uri: &str, hosts: &[&'static str]| {
            let hosts: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            let request = request(uri, &hosts);
            check_host(request.uri(), request.headers()).is_ok()
        };
        assert!(check("/", &[]));
        assert!(check("/", &["meterd"]));
        assert!(check("http://meterd/", &["METERD:80"]));
        assert!(check("https://meterd:443/", &["meterd"]));
        assert!(check("http://meterd:8080/", &["meterd:8080"]));
        assert!(!check("/", &["meterd", "meterd"]));
        assert!(!check("http://meterd/", &["other"]));
        assert!(!check("http://meterd:8080/", &["meterd"]));
    }

    #[test]
    fn loopback_hosts_are_local_whatever_their_port() {
        for host in ["localhost", "LocalHost:8080", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:80"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "128.0.0.1",
            "[::2]",
            "127.0.0.1.nip.io",
            "::1",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn requests_of_other_pages_are_refused() {
        let pages = CrossOrigin::Origins(vec![HeaderValue::from_static("http://localhost:3000")]);
        let check = |headers: &[(&'static str, &'static str)], allowed: &CrossOrigin| {
            let headers = [&[("host", "localhost:8080")], headers].concat();
            check_local(&request("/", &headers), allowed).is_ok()
        };
        let nobody = CrossOrigin::Nobody;
        for headers in [
            &[][..],
            &[("sec-fetch-site", "none")],
            &[("sec-fetch-site", "same-origin"), ("origin", "http://localhost:8080")],
        ] {
            assert!(check(headers, &nobody), "{headers:?}");
        }
        for headers in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site")],
            &[("origin", "http://localhost:3000")],
            &[("origin", "https://evil.example")],
            &[("origin", "null")],
            &[("origin", "http://localhost:8080"), ("sec-fetch-site", "cross-site")],
        ] {
            assert!(!check(headers, &nobody), "{headers:?}");
        }
        let named = [("origin", "http://localhost:3000"), ("sec-fetch-site", "same-site")];
        assert!(check(&named, &pages));
        assert!(check(&named, &CrossOrigin::Anybody));
        assert!(!check(&[("origin", "http://localhost:3001")], &pages));
        let rebound = request("/", &[("host", "evil.example")]);
        assert!(check_local(&rebound, &CrossOrigin::Anybody).is_err());
        let over_http2 = request("http://evil.example/", &[]);
        assert!(check_local(&over_http2, &nobody).is_err());
    }
}
