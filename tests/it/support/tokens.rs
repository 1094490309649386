//! Tokens that nobody issued, and those of an issuer that the test plays.

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der},
    rsa::KeySize,
    signature::{Ed25519KeyPair, KeyPair as _, RsaKeyPair},
};
use base64::{Engine as _, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// An Ed25519 key pair.
pub struct Key {
    id: String,
    signs: EncodingKey,
    x: String,
}

impl Key {
    pub fn new(id: &str) -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        Self::of(id, pair.to_pkcs8().unwrap().as_ref())
    }

    fn of(id: &str, pkcs8: &[u8]) -> Self {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).unwrap();
        Self {
            id: id.to_owned(),
            signs: EncodingKey::from_ed_der(pkcs8),
            x: BASE64_URL_SAFE_NO_PAD.encode(pair.public_key().as_ref()),
        }
    }

    /// The key that a server signs with, from its file.
    pub fn of_server(file: &std::path::Path) -> Self {
        let json: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let first = &json["keys"][0];
        let pkcs8 = BASE64_STANDARD.decode(first["pkcs8"].as_str().unwrap()).unwrap();
        Self::of(first["id"].as_str().unwrap(), &pkcs8)
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn jwk(&self) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": self.id, "x": self.x})
    }

    pub fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, claims, &self.signs).unwrap()
    }

    /// The same claims under another header, with the signature's bytes as given.
    pub fn unsigned(&self, algorithm: &str, claims: &Value, signature: &[u8]) -> String {
        let header = json!({"alg": algorithm, "typ": "JWT", "kid": self.id});
        let part = |value: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(value);
        format!(
            "{}.{}.{}",
            part(header.to_string().as_bytes()),
            part(claims.to_string().as_bytes()),
            part(signature)
        )
    }
}

/// An RSA key pair in PEM: the public key, and the private one.
pub fn rsa_key_pair() -> (String, String) {
    let pem = |label: &str, der: &[u8]| {
        let text = BASE64_STANDARD.encode(der);
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    };
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    (pem("PUBLIC KEY", public.as_ref()), pem("PRIVATE KEY", private.as_ref()))
}
