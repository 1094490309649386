//! From paths to templates.

use crate::domain::id::{IdError, TemplateUri};

/// Why a text is no template that paths can be matched with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It is not absolute.
    #[error("{0:?} must begin with /")]
    Relative(String),
    /// It cannot be stored.
    #[error("{template:?} {reason}")]
    Invalid {
        /// The template.
        template: String,
        /// What is wrong with it.
        #[source]
        reason: IdError,
    },
    /// It matches the same paths as another one, or its braces mean nothing.
    #[error(
        "{template:?} cannot be matched with: {reason} (`{{name}}` is one segment, `{{*name}}` at the end all that follow)"
    )]
    Unmatchable {
        /// The template.
        template: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Templates that paths are matched with. Where several match, the most specific does: segments that are spelled out win
/// over names, whatever the order in which they were given.
#[derive(Debug, Clone)]
pub(super) struct PathTemplates {
    paths: matchit::Router<TemplateUri>,
    unmatched: TemplateUri,
}

/// Stands for all paths without a template. Their number is unbounded, and so they are never stored themselves.
pub(super) const UNMATCHED: &str = "/{unmatched}";

impl PathTemplates {
    pub(super) fn new(templates: &[String]) -> Result<Self, TemplateError> {
        let mut paths = matchit::Router::new();
        for template in templates {
            if !template.starts_with('/') {
                return Err(TemplateError::Relative(template.clone()));
            }
            let uri = TemplateUri::of_new(template)
                .map_err(|reason| TemplateError::Invalid { template: template.clone(), reason })?;
            paths.insert(template.as_str(), uri).map_err(|error| TemplateError::Unmatchable {
                template: template.clone(),
                reason: error.to_string(),
            })?;
        }
        let unmatched = TemplateUri::new(UNMATCHED)
            .map_err(|reason| TemplateError::Invalid { template: UNMATCHED.to_owned(), reason })?;
        Ok(Self { paths, unmatched })
    }

    /// The template of a path, whatever stands behind it as a query or a fragment.
    pub(super) fn find(&self, path: &str) -> Option<&TemplateUri> {
        let end = path.find(['?', '#']).unwrap_or(path.len());
        let matched = self.paths.at(path.get(..end)?).ok()?;
        Some(matched.value)
    }

    pub(super) fn unmatched(&self) -> &TemplateUri {
        &self.unmatched
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn templates(texts: &[&str]) -> Result<PathTemplates, TemplateError> {
        PathTemplates::new(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn paths_find_the_most_specific_template() {
        let templates = templates(&[
            "/v1/products/{id}",
            "/v1/products/{id}/skus/{sku}",
            "/v1/products/search",
            "/files/{*path}",
            "/",
        ])
        .unwrap();
        for (path, expected) in [
            ("/v1/products/17", Some("/v1/products/{id}")),
            ("/v1/products/17?view=full&x=/a", Some("/v1/products/{id}")),
            ("/v1/products/17#top", Some("/v1/products/{id}")),
            ("/v1/products/search?q=1", Some("/v1/products/search")),
            ("/v1/products/searches", Some("/v1/products/{id}")),
            ("/v1/products/17/skus/a%2Fb", Some("/v1/products/{id}/skus/{sku}")),
            ("/v1/products/17/", None),
            ("/v1/products", None),
            ("/files/a/b/c", Some("/files/{*path}")),
            ("/", Some("/")),
            ("/?x", Some("/")),
            ("", None),
            ("*", None),
            ("?", None),
        ] {
            assert_eq!(templates.find(path).map(TemplateUri::as_str), expected, "{path}");
        }
    }

    #[test]
    fn templates_that_cannot_be_meant_are_refused() {
        for (texts, expected) in [
            (vec!["v1"], r#""v1" must begin with /"#.to_owned()),
            (vec![""], r#""" must begin with /"#.to_owned()),
            (
                vec!["/a/{id}", "/a/{name}"],
                "\"/a/{name}\" cannot be matched with: Insertion failed due to conflict with previously registered route: /a/{id} (`{name}` is one segment, `{*name}` at the end all that follow)".to_owned(),
            ),
            (
                vec!["/a/{id"],
                "\"/a/{id\" cannot be matched with: Parameters must be registered with a valid name (`{name}` is one segment, `{*name}` at the end all that follow)".to_owned(),
            ),
        ] {
            assert_eq!(templates(&texts).unwrap_err().to_string(), expected);
        }
        let long = format!("/{}", "x".repeat(200));
        assert!(matches!(templates(&[&long]), Err(TemplateError::Invalid { .. })));
    }
}
