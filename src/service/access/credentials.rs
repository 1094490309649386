//! Secrets, API keys and public keys of clients, and how they are replaced.

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::Access;
use crate::{
    domain::{
        access::{Client, ClientGeneration, PublicKey},
        audit::{Actor, AuditAction},
        credential::{Credential, CredentialHash, CredentialKind, CredentialText},
        id::OrganizationId,
        limits::{
            CREDENTIAL_OVERLAP_DAYS_MAX, CREDENTIALS_MAX, PUBLIC_KEY_BYTES_MAX, PUBLIC_KEYS_MAX,
        },
    },
    service::ServiceError,
};

impl Access {
    /// Gives a client a new secret; the one before is accepted for `overlap` more. With `revoke_tokens`, the tokens that
    /// were issued to the client so far are not accepted any more; unless it is given, that is so if there is no overlap.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::InvalidArgument`] if `overlap` is negative or too long.
    pub async fn rotate_secret(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &str,
        overlap: SignedDuration,
        revoke_tokens: Option<bool>,
    ) -> Result<CredentialText, ServiceError> {
        let end = self.end_of_overlap(overlap)?;
        let revoke_tokens = revoke_tokens.unwrap_or_else(|| overlap.is_zero());
        let (text, new) = new_credential(CredentialKind::Secret, self.0.clock.now())?;
        let detail = with_revocation(accepted_until(end), revoke_tokens);
        let action = AuditAction::SecretRotated;
        self.change_client(actor, organization, id, action, detail, move |client| {
            rotate(&mut client.secrets, new, end);
            if revoke_tokens {
                revoke_tokens_of(client)?;
            }
            Ok(())
        })
        .await?;
        Ok(text)
    }

    /// Gives a client a new API key; the one before is accepted for `overlap` more. No token is got with a key, so there
    /// are none to revoke.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::InvalidArgument`] if `overlap` is negative or too long.
    pub async fn rotate_api_key(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &str,
        overlap: SignedDuration,
    ) -> Result<CredentialText, ServiceError> {
        let end = self.end_of_overlap(overlap)?;
        let (text, new) = new_credential(CredentialKind::ApiKey, self.0.clock.now())?;
        let (action, detail) = (AuditAction::ApiKeyRotated, accepted_until(end));
        self.change_client(actor, organization, id, action, detail, move |client| {
            rotate(&mut client.api_keys, new, end);
            Ok(())
        })
        .await?;
        Ok(text)
    }

    /// Registers a public key of a client, with which its assertions are verified; answers the key's id. That it is
    /// such a key, the caller has checked.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::InvalidArgument`] if it is too long,
    /// [`ServiceError::FailedPrecondition`] if the client has too many.
    pub async fn add_public_key(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &str,
        pem: &str,
    ) -> Result<String, ServiceError> {
        if pem.len() > PUBLIC_KEY_BYTES_MAX {
            return Err(ServiceError::invalid(
                "public_key",
                format!("must have at most {PUBLIC_KEY_BYTES_MAX} bytes"),
            ));
        }
        let key_id = Uuid::new_v4().to_string();
        let key = PublicKey { id: key_id.clone(), pem: pem.into(), created: self.0.clock.now() };
        let (action, detail) = (AuditAction::PublicKeyAdded, key_id.clone());
        self.change_client(actor, organization, id, action, detail, |client| {
            if client.public_keys.len() >= PUBLIC_KEYS_MAX {
                return Err(ServiceError::FailedPrecondition(format!(
                    "the client has {PUBLIC_KEYS_MAX} public keys already; remove one first"
                )));
            }
            client.public_keys.push(key);
            Ok(())
        })
        .await?;
        Ok(key_id)
    }

    /// Removes a public key of a client. With `revoke_tokens`, the tokens that were issued to the client so far are not
    /// accepted any more.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] if there is no such client or key.
    pub async fn remove_public_key(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &str,
        key_id: &str,
        revoke_tokens: bool,
    ) -> Result<(), ServiceError> {
        let detail = with_revocation(key_id.to_owned(), revoke_tokens);
        let (action, gone) = (AuditAction::PublicKeyRemoved, key_id.to_owned());
        self.change_client(actor, organization, id, action, detail, move |client| {
            let before = client.public_keys.len();
            client.public_keys.retain(|key| key.id != gone);
            if client.public_keys.len() == before {
                return Err(ServiceError::not_found("public key", &gone));
            }
            if revoke_tokens {
                revoke_tokens_of(client)?;
            }
            Ok(())
        })
        .await
        .map(drop)
    }

    fn end_of_overlap(&self, overlap: SignedDuration) -> Result<Timestamp, ServiceError> {
        let longest = SignedDuration::from_hours(24 * CREDENTIAL_OVERLAP_DAYS_MAX);
        if overlap.is_negative() || overlap > longest {
            return Err(ServiceError::invalid(
                "overlap",
                format!("must be between 0 and {CREDENTIAL_OVERLAP_DAYS_MAX} days"),
            ));
        }
        self.0
            .clock
            .now()
            .checked_add(overlap)
            .map_err(|_| ServiceError::invalid("overlap", "is too long"))
    }
}

/// A generation that no client had before: 64 random bits, and never that of clients from before there were generations.
pub(super) fn generation() -> Result<ClientGeneration, ServiceError> {
    let mut random = [0; 8];
    fill_random(&mut random)?;
    Ok(ClientGeneration(u64::from_be_bytes(random).max(1)))
}

/// A credential, as its client gets it and as it is kept.
pub(super) fn new_credential(
    kind: CredentialKind,
    now: Timestamp,
) -> Result<(CredentialText, Credential), ServiceError> {
    let mut random = [0; 32];
    fill_random(&mut random)?;
    let text = CredentialText::new(kind, &random);
    let hash = CredentialHash::of(text.reveal().as_bytes());
    Ok((text, Credential { hash, created: now, expires: None }))
}

fn fill_random(bytes: &mut [u8]) -> Result<(), ServiceError> {
    getrandom::fill(bytes).map_err(|error| ServiceError::Internal(error.to_string().into()))
}

/// Puts a new credential first; of those before it only the last one goes on, and not for ever.
fn rotate(credentials: &mut Vec<Credential>, new: Credential, end: Timestamp) {
    credentials.retain(|credential| credential.is_valid(new.created) && new.created < end);
    credentials.truncate(CREDENTIALS_MAX - 1);
    for credential in credentials.iter_mut() {
        credential.expires = Some(credential.expires.map_or(end, |earlier| earlier.min(end)));
    }
    credentials.insert(0, new);
}

fn revoke_tokens_of(client: &mut Client) -> Result<(), ServiceError> {
    let next = client.token_epoch.checked_add(1);
    client.token_epoch =
        next.ok_or_else(|| ServiceError::Internal("a client has no token epoch left".into()))?;
    Ok(())
}

fn accepted_until(end: Timestamp) -> String {
    format!("the one before is accepted until {end}")
}

fn with_revocation(detail: String, revoke_tokens: bool) -> String {
    if revoke_tokens { format!("{detail}; tokens issued before revoked") } else { detail }
}
