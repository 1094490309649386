//! Organizations.

use std::sync::Arc;

use super::{Access, OPERATOR_ORGANIZATION, Told, check_name, registry::Change};
use crate::{
    domain::{
        access::Organization,
        audit::{Actor, AuditAction},
        exceeded_limit::ExceededLimit,
        id::OrganizationId,
    },
    service::{Page, PageRequest, ServiceError, page::list},
};

impl Access {
    /// The organization that an administrator means: its own, or any existing one if it is the operator.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] if it does not exist or is out of reach, which is not told apart.
    pub fn reach(&self, actor: &Actor, organization: &str) -> Result<OrganizationId, ServiceError> {
        let own = &actor.caller.organization;
        if organization.is_empty() || organization == own.as_str() {
            return Ok(own.clone());
        }
        let registry = self.0.registry.read();
        let found = (own.as_str() == OPERATOR_ORGANIZATION)
            .then(|| registry.organization(organization))
            .flatten();
        found
            .map(|found| found.id.clone())
            .ok_or_else(|| ServiceError::not_found("organization", organization))
    }

    /// Creates an organization.
    ///
    /// # Errors
    /// [`ServiceError::PermissionDenied`] for anybody but the operator, [`ServiceError::AlreadyExists`],
    /// [`ServiceError::InvalidArgument`], [`ServiceError::LimitExceeded`].
    pub async fn create_organization(
        &self,
        actor: &Actor,
        id: &str,
        name: &str,
    ) -> Result<Organization, ServiceError> {
        require_operator(actor)?;
        let id = OrganizationId::of_new(id)
            .map_err(|error| ServiceError::invalid("organization_id", error.to_string()))?;
        check_name(name)?;
        let organization =
            Organization { id: id.clone(), name: name.to_owned(), created: self.0.clock.now() };
        let told = Told {
            organization: id.clone(),
            actor: actor.clone(),
            action: AuditAction::OrganizationCreated,
            subject: id.to_string(),
            detail: name.to_owned(),
        };
        let creating = Arc::clone(&self.0.creating_organization).lock_owned().await;
        let organizations_max = self.0.limits.organizations_max;
        let new = organization.clone();
        self.change(creating, told, move |registry| {
            if registry.organization(new.id.as_str()).is_some() {
                return Err(ServiceError::already_exists("organization", new.id.as_str()));
            }
            let count = registry.organization_count();
            match ExceededLimit::by_growth(
                "organizations-max",
                "organizations",
                count,
                count + 1,
                organizations_max,
            ) {
                Some(exceeded) => Err(ServiceError::LimitExceeded(vec![exceeded])),
                None => Ok(Change::Organization(new)),
            }
        })
        .await?;
        Ok(organization)
    }

    /// Organizations by id: all of them for the operator, its own for anybody else.
    ///
    /// # Errors
    /// [`ServiceError::InvalidArgument`] if size or token of the page are wrong.
    pub fn list_organizations(
        &self,
        actor: &Actor,
        page: &PageRequest,
    ) -> Result<Page<Organization>, ServiceError> {
        let own = &actor.caller.organization;
        let tokens = self.tokens("organizations", own)?;
        let registry = self.0.registry.read();
        let entry =
            |organization: &Organization| (organization.id.to_string(), organization.clone());
        if own.as_str() == OPERATOR_ORGANIZATION {
            return list(&tokens, page, |after| registry.organizations_after(after).map(entry));
        }
        list(&tokens, page, |after| {
            let found = registry.organization(own.as_str()).filter(|_| after.is_none());
            found.map(entry).into_iter()
        })
    }
}

/// That somebody administers the server, and not only an organization.
///
/// # Errors
/// [`ServiceError::PermissionDenied`] for anybody but the operator.
pub fn require_operator(actor: &Actor) -> Result<(), ServiceError> {
    if actor.caller.organization.as_str() == OPERATOR_ORGANIZATION {
        return Ok(());
    }
    Err(ServiceError::PermissionDenied(format!(
        "only administrators of the organization {OPERATOR_ORGANIZATION:?} may do this"
    )))
}
