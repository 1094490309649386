//! What this server is called: the URLs that its clients know it by.
//!
//! Its operator, its certificate and the address that it listens on say so. The name in a request is the sender's choice and
//! proves nothing.

use std::{
    collections::HashSet,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use arc_swap::ArcSwap;
use http::{Uri, uri::Authority};

/// Where tokens are to be had.
pub const TOKEN_PATHS: [&str; 3] = ["/oauth/token", "/oauth2/token", "/v4/oauth2/token"];
/// The same for the vendor's SDKs.
pub const IAM_TOKEN_PATH: &str = "/iam/v1/tokens";

/// How a server is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// A URL of a server: scheme, host and port, and no path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PublicUrl {
    scheme: Scheme,
    /// In lower case; an IPv6 address stands in brackets.
    host: String,
    port: u16,
}

/// Why a text is no URL of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublicUrlError {
    /// It is something else.
    #[error("is no URL such as https://usage.example.com or https://usage.example.com:8443")]
    Form,
    /// It leads to a place on a server.
    #[error("has more than scheme, host and port: paths are the same on every server")]
    More,
}

impl PublicUrl {
    /// Reads `https://host[:port]`, or the same with `http`. A slash at the end is read over.
    ///
    /// # Errors
    /// [`PublicUrlError`] if it is something else.
    pub fn parse(text: &str) -> Result<Self, PublicUrlError> {
        let uri: Uri = text.parse().map_err(|_| PublicUrlError::Form)?;
        let scheme = match uri.scheme_str() {
            Some("https") => Scheme::Https,
            Some("http") => Scheme::Http,
            _ => return Err(PublicUrlError::Form),
        };
        let authority = uri.authority().ok_or(PublicUrlError::Form)?;
        let is_more = uri.path() != "/" || text.contains(['?', '#']);
        if is_more || authority.as_str().contains('@') {
            return Err(PublicUrlError::More);
        }
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            // A colon with no number after it, or one that is no port.
            None if authority.as_str() != authority.host() => return Err(PublicUrlError::Form),
            None => scheme.default_port(),
        };
        let host = authority.host().to_ascii_lowercase();
        if port == 0 || host.contains('*') {
            return Err(PublicUrlError::Form);
        }
        Ok(Self { scheme, host, port })
    }

    fn new(scheme: Scheme, host: impl fmt::Display, port: u16) -> Option<Self> {
        let host = host.to_string().to_ascii_lowercase();
        let is_host = host.parse::<Authority>().is_ok_and(|authority| authority.host() == host);
        (is_host && !host.contains('*')).then_some(Self { scheme, host, port })
    }

    /// Host and port, as the vendor's SDKs and gRPC want them; the port always.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Whether what is sent there cannot be read on the way: by TLS, or since it never leaves the machine.
    #[must_use]
    pub fn is_private(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        self.scheme == Scheme::Https
            || host == "localhost"
            || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// Every spelling of its host and port.
    fn authorities(&self) -> Vec<String> {
        let mut spellings = vec![self.authority()];
        if self.port == self.scheme.default_port() {
            spellings.push(self.host.clone());
        }
        spellings
    }

    /// What an assertion for this server may be addressed to: its issuer URL, or where tokens are to be had (RFC 7523,
    /// section 3). The vendor's SDKs name `iam.` in front of the address that they were given, and always https.
    fn audiences(&self) -> impl Iterator<Item = String> {
        let scheme = self.scheme.name();
        self.authorities().into_iter().flat_map(move |authority| {
            ["", "/", IAM_TOKEN_PATH]
                .into_iter()
                .chain(TOKEN_PATHS)
                .map(|path| format!("{scheme}://{authority}{path}"))
                .chain([format!("https://iam.{authority}{IAM_TOKEN_PATH}")])
                .collect::<Vec<_>>()
        })
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.host)?;
        if self.port == self.scheme.default_port() { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// The names of one moment.
#[derive(Debug, Default)]
struct Names {
    urls: Vec<PublicUrl>,
    audiences: HashSet<String>,
}

impl Names {
    fn new(urls: Vec<PublicUrl>) -> Self {
        let audiences = urls.iter().flat_map(PublicUrl::audiences).collect();
        Self { urls, audiences }
    }
}

/// What a server is called. Names that come from its certificate change with it.
#[derive(Debug)]
pub struct ServerNames {
    /// Where it listens, unless its operator has said what it is called.
    listens: Option<SocketAddr>,
    names: ArcSwap<Names>,
}

impl ServerNames {
    /// The names that the operator has given, the first before the others. Without any: the DNS names of the certificate,
    /// if there is one, and those of this machine if only this machine can reach the address that is listened on.
    #[must_use]
    pub fn new(given: Vec<PublicUrl>, listens: SocketAddr, certificate: Option<&[String]>) -> Self {
        if given.is_empty() {
            let names = Self { listens: Some(listens), names: ArcSwap::default() };
            names.put_certificate(certificate);
            names
        } else {
            Self { listens: None, names: ArcSwap::from_pointee(Names::new(given)) }
        }
    }

    /// Takes the DNS names of another certificate, unless the operator has given names.
    pub fn put_certificate(&self, certificate: Option<&[String]>) {
        if let Some(listens) = self.listens {
            self.names.store(Arc::new(Names::new(derived(listens, certificate))));
        }
    }

    /// Whether the server knows of any name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.load().urls.is_empty()
    }

    /// The first name: where clients are sent that ask where this server is.
    #[must_use]
    pub fn first(&self) -> Option<PublicUrl> {
        self.names.load().urls.first().cloned()
    }

    /// All names.
    #[must_use]
    pub fn all(&self) -> Vec<PublicUrl> {
        self.names.load().urls.clone()
    }

    /// The names that the operator has given.
    #[must_use]
    pub fn given(&self) -> Vec<PublicUrl> {
        if self.listens.is_none() { self.all() } else { Vec::new() }
    }

    /// Whether what is addressed to `audience` is addressed to this server.
    #[must_use]
    pub fn has_audience(&self, audience: &str) -> bool {
        self.names.load().audiences.contains(audience)
    }
}

fn derived(listens: SocketAddr, certificate: Option<&[String]>) -> Vec<PublicUrl> {
    let scheme = if certificate.is_some() { Scheme::Https } else { Scheme::Http };
    let port = listens.port();
    let mut urls = Vec::new();
    let mut put = |url: Option<PublicUrl>| urls.extend(url.filter(|url| !urls.contains(url)));
    for name in certificate.unwrap_or_default() {
        put(PublicUrl::new(scheme, name, port));
        // A proxy or a container runtime that passes connections on to this port mostly listens on the usual one.
        put(PublicUrl::new(scheme, name, scheme.default_port()));
    }
    if listens.ip().is_loopback() {
        let listened_on = match listens.ip() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        for host in [listened_on.as_str(), "localhost", "127.0.0.1", "[::1]"] {
            put(PublicUrl::new(scheme, host, port));
        }
    }
    urls
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(given: &[&str], listens: &str, certificate: Option<&[&str]>) -> ServerNames {
        let given = given.iter().map(|text| PublicUrl::parse(text).unwrap()).collect();
        let certificate: Option<Vec<String>> =
            certificate.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        ServerNames::new(given, listens.parse().unwrap(), certificate.as_deref())
    }

    fn spelled(names: &ServerNames) -> Vec<String> {
        names.all().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn public_url_is_scheme_host_and_port() {
        for (text, printed, authority) in [
            ("https://usage.example.com", "https://usage.example.com", "usage.example.com:443"),
            ("https://Usage.Example.com/", "https://usage.example.com", "usage.example.com:443"),
            ("https://h:443", "https://h", "h:443"),
            ("https://h:8443", "https://h:8443", "h:8443"),
            ("http://h", "http://h", "h:80"),
            ("https://[::1]:8443", "https://[::1]:8443", "[::1]:8443"),
        ] {
            let url = PublicUrl::parse(text).unwrap();
            assert_eq!((url.to_string().as_str(), url.authority().as_str()), (printed, authority));
        }
        for text in [
            "",
            "h",
            "h:8443",
            "/h",
            "ftp://h",
            "https://",
            "https://h:x",
            "https://h:0",
            "https://*.h",
        ] {
            assert_eq!(PublicUrl::parse(text), Err(PublicUrlError::Form), "{text}");
        }
        for text in ["https://h/usage", "https://h?x", "https://h/#x", "https://user@h"] {
            assert_eq!(PublicUrl::parse(text), Err(PublicUrlError::More), "{text}");
        }
    }

    #[test]
    fn plain_http_is_private_on_loopback_only() {
        for (text, is_private) in [
            ("https://h", true),
            ("http://localhost:8080", true),
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080", true),
            ("http://h", false),
            ("http://127.0.0.1.example.com", false),
        ] {
            assert_eq!(PublicUrl::parse(text).unwrap().is_private(), is_private, "{text}");
        }
    }

    #[test]
    fn audiences_are_issuer_and_token_urls_of_every_name() {
        let names = names(&["https://usage.example.com", "https://other:8443"], "0.0.0.0:80", None);
        for audience in [
            "https://usage.example.com",
            "https://usage.example.com/",
            "https://usage.example.com/oauth/token",
            "https://usage.example.com:443/oauth2/token",
            "https://usage.example.com/v4/oauth2/token",
            "https://usage.example.com/iam/v1/tokens",
            "https://iam.usage.example.com/iam/v1/tokens",
            "https://iam.usage.example.com:443/iam/v1/tokens",
            "https://other:8443/oauth/token",
        ] {
            assert!(names.has_audience(audience), "{audience}");
        }
        for audience in [
            "",
            "meterd",
            "http://usage.example.com/oauth/token",
            "https://usage.example.com:8443/oauth/token",
            "https://iam.api.cloud.yandex.net/iam/v1/tokens",
            "https://usage.example.com/other",
            "https://other/oauth/token",
        ] {
            assert!(!names.has_audience(audience), "{audience}");
        }
    }

    #[test]
    fn names_are_derived_from_certificate_and_loopback() {
        assert_eq!(
            spelled(&names(&[], "127.0.0.1:8080", None)),
            ["http://127.0.0.1:8080", "http://localhost:8080", "http://[::1]:8080"]
        );
        assert_eq!(
            spelled(&names(&[], "0.0.0.0:8443", Some(&["usage.example.com", "*.example.com"]))),
            ["https://usage.example.com:8443", "https://usage.example.com"]
        );
        let both = names(&[], "[::1]:8443", Some(&["localhost"]));
        assert_eq!(both.first().unwrap().to_string(), "https://localhost:8443");
        assert!(both.has_audience("https://[::1]:8443/oauth/token"));
        assert!(names(&[], "0.0.0.0:8080", None).is_empty());
        assert!(names(&[], "0.0.0.0:8443", Some(&[])).is_empty());
    }

    #[test]
    fn new_certificate_renames_unless_names_were_given() {
        let new = ["new.example.com".to_owned()];
        let derived = names(&[], "0.0.0.0:443", Some(&["old.example.com"]));
        derived.put_certificate(Some(&new));
        assert_eq!(spelled(&derived), ["https://new.example.com"]);
        let given = names(&["https://given.example.com"], "0.0.0.0:443", Some(&["old"]));
        given.put_certificate(Some(&new));
        assert_eq!(spelled(&given), ["https://given.example.com"]);
        assert_eq!(given.given().len(), 1);
        assert!(derived.given().is_empty());
    }
}
