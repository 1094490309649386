//! Organizations and clients on the disk, as JSON.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        access::{Client, ClientGeneration, Organization, PublicKey},
        credential::{Credential, CredentialHash},
        id::ClientId,
        permission::Permission,
    },
    service::ServiceError,
    store::{
        StoreError,
        document::{Collection, Document, DocumentChange},
    },
};

#[derive(Serialize, Deserialize)]
struct OrganizationEntry {
    name: String,
    created: String,
}

#[derive(Serialize, Deserialize)]
struct ClientEntry {
    // Missing where the client was created before there were generations: it and its tokens go on with zero.
    #[serde(default)]
    generation: u64,
    #[serde(default)]
    token_epoch: u64,
    name: String,
    created: String,
    permissions: Vec<String>,
    secrets: Vec<CredentialEntry>,
    api_keys: Vec<CredentialEntry>,
    #[serde(default)]
    public_keys: Vec<PublicKeyEntry>,
}

#[derive(Serialize, Deserialize)]
struct PublicKeyEntry {
    id: String,
    pem: String,
    created: String,
}

#[derive(Serialize, Deserialize)]
struct CredentialEntry {
    sha256: String,
    created: String,
    expires: Option<String>,
}

pub(super) fn of_organization(organization: &Organization) -> Result<DocumentChange, ServiceError> {
    let entry = OrganizationEntry {
        name: organization.name.clone(),
        created: organization.created.to_string(),
    };
    Ok(DocumentChange {
        collection: Collection::Organizations,
        organization: organization.id.clone(),
        name: String::new(),
        body: Some(body(&entry)?),
    })
}

pub(super) fn organization(document: &Document) -> Result<Organization, StoreError> {
    let entry: OrganizationEntry = read(document)?;
    Ok(Organization {
        id: document.organization.clone(),
        name: entry.name,
        created: time(&entry.created)?,
    })
}

pub(super) fn of_client(client: &Client) -> Result<DocumentChange, ServiceError> {
    let entry = ClientEntry {
        generation: client.generation.0,
        token_epoch: client.token_epoch,
        name: client.name.clone(),
        created: client.created.to_string(),
        permissions: client.permissions.iter().map(ToString::to_string).collect(),
        secrets: client.secrets.iter().map(of_credential).collect(),
        api_keys: client.api_keys.iter().map(of_credential).collect(),
        public_keys: client.public_keys.iter().map(of_public_key).collect(),
    };
    Ok(DocumentChange {
        collection: Collection::Clients,
        organization: client.organization.clone(),
        name: client.id.to_string(),
        body: Some(body(&entry)?),
    })
}

pub(super) fn client(document: &Document) -> Result<Client, StoreError> {
    let entry: ClientEntry = read(document)?;
    let credentials = |entries: Vec<CredentialEntry>| -> Result<Vec<Credential>, StoreError> {
        entries.into_iter().map(|entry| credential(&entry)).collect()
    };
    Ok(Client {
        organization: document.organization.clone(),
        id: ClientId::new(&document.name).map_err(damaged)?,
        generation: ClientGeneration(entry.generation),
        token_epoch: entry.token_epoch,
        name: entry.name,
        permissions: entry
            .permissions
            .iter()
            .map(|name| name.parse::<Permission>().map_err(damaged))
            .collect::<Result<_, _>>()?,
        secrets: credentials(entry.secrets)?,
        api_keys: credentials(entry.api_keys)?,
        public_keys: entry.public_keys.iter().map(public_key).collect::<Result<_, _>>()?,
        created: time(&entry.created)?,
    })
}

fn of_credential(credential: &Credential) -> CredentialEntry {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    CredentialEntry {
        sha256: STANDARD.encode(credential.hash.0),
        created: credential.created.to_string(),
        expires: credential.expires.map(|expires| expires.to_string()),
    }
}

fn of_public_key(key: &PublicKey) -> PublicKeyEntry {
    PublicKeyEntry {
        id: key.id.clone(),
        pem: key.pem.to_string(),
        created: key.created.to_string(),
    }
}

fn public_key(entry: &PublicKeyEntry) -> Result<PublicKey, StoreError> {
    Ok(PublicKey {
        id: entry.id.clone(),
        pem: entry.pem.as_str().into(),
        created: time(&entry.created)?,
    })
}

fn credential(entry: &CredentialEntry) -> Result<Credential, StoreError> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    let hash = STANDARD.decode(&entry.sha256).map_err(damaged)?;
    let hash = hash.try_into().map_err(|_| damaged("a hash has another length"))?;
    Ok(Credential {
        hash: CredentialHash(hash),
        created: time(&entry.created)?,
        expires: entry.expires.as_deref().map(time).transpose()?,
    })
}

fn time(text: &str) -> Result<Timestamp, StoreError> {
    text.parse().map_err(damaged)
}

fn body(entry: &impl Serialize) -> Result<Vec<u8>, ServiceError> {
    serde_json::to_vec(entry).map_err(|error| ServiceError::Internal(error.to_string().into()))
}

fn read<'a, T: Deserialize<'a>>(document: &'a Document) -> Result<T, StoreError> {
    serde_json::from_slice(&document.body).map_err(damaged)
}

fn damaged(error: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged(format!("an entry of who may call: {error}").into())
}
