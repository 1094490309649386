//! Path templates of `google.api.http` rules.

use std::fmt;

/// A compiled template, such as `/v1/usageRecords/{uuid}` or `/v1/jobs/{id}:cancel`.
///
/// Of the syntax in `google/api/http.proto` this takes literals, variables of one segment (`{a}`,
/// `{a.b}`, `{a=*}`) and a verb. `*`, `**` and longer variables are refused when the server starts,
/// rather than routed wrongly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathTemplate {
    segments: Vec<Segment>,
    verb: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    /// The path of a field of the request.
    Variable(String),
}

impl PathTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let path = text.strip_prefix('/').ok_or("a path begins with a slash")?;
        // A colon inside of braces would belong to a variable; none of those that are taken has one.
        let (path, verb) = match path.rsplit_once(':') {
            Some((path, verb)) if !verb.contains(['/', '}']) => (path, Some(verb)),
            _ => (path, None),
        };
        if verb.is_some_and(|verb| !is_literal(verb)) {
            return Err("the verb after the colon is not plain text".into());
        }
        let segments = path.split('/').map(Segment::parse).collect::<Result<Vec<_>, _>>()?;
        let mut variables: Vec<_> = segments.iter().filter_map(Segment::variable).collect();
        variables.sort_unstable();
        if let Some([twice, _]) = variables.array_windows().find(|[one, other]| one == other) {
            return Err(format!("the variable {twice} appears twice"));
        }
        Ok(Self { segments, verb: verb.map(str::to_owned) })
    }

    /// The fields that the path sets, in its order.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(Segment::variable)
    }

    /// What follows the last colon.
    pub(super) fn verb(&self) -> Option<&str> {
        self.verb.as_deref()
    }

    /// The path without its verb, as the route table spells it: variables by position, since two
    /// templates may differ in their names and still be the same route.
    pub(super) fn pattern(&self) -> String {
        let without_verb = Self { segments: self.segments.clone(), verb: None };
        let mut positions = 0..;
        without_verb.render(|_| format!("v{}", positions.next().unwrap_or_default()))
    }

    /// As OpenAPI spells it; `name` gives a variable's name.
    pub(super) fn render(&self, mut name: impl FnMut(&str) -> String) -> String {
        self.render_with(|field| format!("{{{}}}", name(field)))
    }

    /// With something in the place of each variable.
    pub(super) fn render_with(&self, mut value: impl FnMut(&str) -> String) -> String {
        let mut path = String::new();
        for segment in &self.segments {
            path.push('/');
            match segment {
                Segment::Literal(text) => path.push_str(text),
                Segment::Variable(field) => path.push_str(&value(field)),
            }
        }
        if let Some(verb) = &self.verb {
            path.push_str(&format!(":{verb}"));
        }
        path
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(str::to_owned))
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, String> {
        let Some(inner) = text.strip_prefix('{') else {
            return if is_literal(text) {
                Ok(Self::Literal(text.to_owned()))
            } else {
                Err(format!("the segment {text:?} is neither plain text nor a variable"))
            };
        };
        let inner = inner.strip_suffix('}').ok_or_else(|| {
            format!("the segment {text:?} is not closed, or a variable of several segments")
        })?;
        let field = match inner.split_once('=') {
            None | Some((_, "*")) => inner.split('=').next().unwrap_or_default(),
            Some((_, pattern)) => {
                return Err(format!("a variable may only be one segment, not {pattern:?}"));
            }
        };
        let is_name = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if !field.split('.').all(is_name) {
            return Err(format!("{field:?} is no name of a field"));
        }
        Ok(Self::Variable(field.to_owned()))
    }

    fn variable(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::Variable(field) => Some(field),
        }
    }
}

/// Characters that mean themselves in a path, in a template and in the route table.
fn is_literal(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_that_are_taken() {
        let template = PathTemplate::parse("/v1/jobs/{job.id}/parts/{part=*}:cancel").unwrap();
        assert_eq!(template.variables().collect::<Vec<_>>(), ["job.id", "part"]);
        assert_eq!(template.verb(), Some("cancel"));
        assert_eq!(template.pattern(), "/v1/jobs/{v0}/parts/{v1}");
        assert_eq!(template.to_string(), "/v1/jobs/{job.id}/parts/{part}:cancel");
        assert_eq!(PathTemplate::parse("/v1/catalog:apply").unwrap().pattern(), "/v1/catalog");
        assert_eq!(PathTemplate::parse("/.well-known/x").unwrap().verb(), None);
    }

    #[test]
    fn everything_else_is_refused_with_a_reason() {
        for text in [
            "",
            "v1",
            "/",
            "/v1/",
            "//v1",
            "/v1/*",
            "/v1/**",
            "/v1/{a=x/*}",
            "/v1/{a=**}",
            "/v1/{}",
            "/v1/{a",
            "/v1/x{a}",
            "/v1/{a}-{b}",
            "/v1/{a..b}",
            "/v1/{a b}",
            "/v1/{a}/{a}",
            "/v1/{b}/{a}/{b}",
            "/v1/a%20b",
            "/v1/a:",
            "/v1/a:b c",
            "/v1/a?b=c",
        ] {
            assert!(PathTemplate::parse(text).is_err(), "{text}");
        }
    }
}
