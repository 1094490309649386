//! Recognising a caller.

use std::{hint::black_box, sync::Arc};

use meterd::{
    auth::{
        Authentication, Credentials,
        access_token::{AccessTokens, TokenKind},
        signing_keys::SigningKeys,
    },
    domain::{audit::Actor, id::OrganizationId},
    service::{
        access::{Access, NewClient},
        audit::AuditTrail,
        clock::ManualClock,
    },
    store::{UsageStore, memory::MemoryStore},
};

use super::{Work, inputs::now, runtime};

/// A token of ours that was verified before: its hash, the client, what it may do.
pub(super) fn known_token() -> Box<dyn Work> {
    let store: Arc<dyn UsageStore> = Arc::new(MemoryStore::new());
    let clock = Arc::new(ManualClock::new(now()));
    let audit = Arc::new(AuditTrail::new(Arc::clone(&store), clock.clone()));
    let access = Arc::new(Access::load(store, clock, audit).unwrap());
    let organization = OrganizationId::new("default").unwrap();
    let actor = Actor::meterd(&organization).unwrap();
    let new = NewClient { id: "agent".into(), ..NewClient::default() };
    let created = runtime().block_on(access.create_client(&actor, &organization, new)).unwrap();
    let tokens = Arc::new(AccessTokens::new(SigningKeys::ephemeral().unwrap()));
    let token = tokens.issue(&created.client.token_subject(), TokenKind::Access, now()).unwrap();
    let authentication =
        Authentication::new(None, false).unwrap().with_clients(access).with_tokens(tokens);
    Box::new(KnownToken { authentication, header: format!("Bearer {token}") })
}

struct KnownToken {
    authentication: Authentication,
    header: String,
}

impl Work for KnownToken {
    fn run(&mut self) {
        let header = black_box(self.header.as_bytes());
        let credentials = Credentials { authorization: Some(header), api_key: None };
        black_box(self.authentication.authenticate(credentials, now()).unwrap());
    }
}
