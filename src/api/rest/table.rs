//! From a request's method and path to a binding.

use std::{collections::HashMap, sync::Arc};

use http::Method;
use percent_encoding::percent_decode_str;

use super::{RestError, rule::Binding};

/// All bindings, by path and then by HTTP method.
#[derive(Debug, Default)]
pub(super) struct RouteTable {
    /// A path's verb, empty for none → the paths that have it.
    by_verb: HashMap<String, matchit::Router<Route>>,
}

/// The bindings that share a path.
type Route = Vec<Arc<Binding>>;

/// What a path leads to.
#[derive(Debug)]
pub(super) enum Routed {
    /// A binding, and its path variables in the order of the template, still percent-encoded.
    Found(Arc<Binding>, Vec<String>),
    /// The path exists for these methods only.
    OtherMethod(Vec<Method>),
    /// There is no such path.
    Nothing,
}

impl RouteTable {
    /// Puts the table together.
    ///
    /// # Errors
    /// [`RestError`] if two bindings claim one method and path.
    pub(super) fn build(bindings: Vec<Binding>) -> Result<Self, RestError> {
        // Grouped first: the router takes a path once.
        let mut by_path: HashMap<(String, String), Route> = HashMap::new();
        for binding in bindings {
            let verb = binding.template.verb().unwrap_or_default().to_owned();
            let route = by_path.entry((verb, binding.template.pattern())).or_default();
            let same = |other: &&Arc<Binding>| other.http_method == binding.http_method;
            if let Some(other) = route.iter().find(same) {
                let problem = format!(
                    "{} {} is taken by {}",
                    binding.http_method,
                    binding.template,
                    other.method.full_name()
                );
                return Err(RestError::new(binding.method.full_name(), problem));
            }
            route.push(Arc::new(binding));
        }
        let mut table = Self::default();
        for ((verb, pattern), route) in by_path {
            let names = route.iter().map(|binding| binding.method.full_name().to_owned());
            let names = names.collect::<Vec<_>>().join(", ");
            table
                .by_verb
                .entry(verb)
                .or_default()
                .insert(pattern, route)
                .map_err(|error| RestError::new(&names, error.to_string()))?;
        }
        Ok(table)
    }

    /// Looks a path up, as it stands in the request line.
    pub(super) fn route(&self, method: &Method, path: &str) -> Routed {
        let last_segment = path.rfind('/').map_or(0, |slash| slash + 1);
        let with_verb = path
            .rfind(':')
            .filter(|colon| *colon >= last_segment)
            .and_then(|colon| Some((path.get(..colon)?, path.get(colon + 1..)?)))
            .filter(|(_, verb)| !verb.is_empty());
        // What follows a colon is a verb if there is such a verb, otherwise part of a value.
        let verb_first = with_verb.into_iter().chain([(path, "")]);
        for (path, verb) in verb_first {
            let Some(matched) = self.by_verb.get(verb).and_then(|paths| paths.at(path).ok()) else {
                continue;
            };
            let route = matched.value;
            // Whoever can GET can HEAD; the connection leaves the body out.
            let wanted = if method == Method::HEAD { &Method::GET } else { method };
            if let Some(binding) = route.iter().find(|binding| binding.http_method == *wanted) {
                let values = matched.params.iter().map(|(_, value)| value.to_owned()).collect();
                return Routed::Found(Arc::clone(binding), values);
            }
            let mut methods: Vec<_> =
                route.iter().map(|binding| binding.http_method.clone()).collect();
            if methods.contains(&Method::GET) {
                methods.push(Method::HEAD);
            }
            return Routed::OtherMethod(methods);
        }
        Routed::Nothing
    }
}

/// A path variable as it was meant; `None` if it is not UTF-8.
pub(super) fn decoded(value: &str) -> Option<String> {
    percent_decode_str(value).decode_utf8().ok().map(|value| value.into_owned())
}
