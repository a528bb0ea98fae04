//! A query over devices, as an operator or a program writes it.

use semver::Version;

use crate::domain::query::{
    Facts, Field, Node, QUERY_BYTES_MAX, Query, Subject, TERMS_MAX, Term, Test, VALUES_MAX,
};

/// Longest refusal in bytes: it repeats little of the query.
const REFUSAL_BYTES_MAX: usize = 512;

/// A device that has the same text in every field, or nothing in any.
struct Device<'a> {
    text: Option<&'a str>,
    version: Version,
}

impl Facts for Device<'_> {
    fn id(&self) -> &str {
        self.text.unwrap_or_default()
    }

    fn product(&self) -> &str {
        self.text.unwrap_or_default()
    }

    fn fact(&self, field: &Field) -> Option<Subject<'_>> {
        let text = self.text?;
        match field {
            Field::Tag => None,
            Field::CreatedAt => Some(Subject::Time(1000)),
            Field::Version => Some(Subject::Version(&self.version)),
            Field::Attribute(_)
            | Field::Device
            | Field::Product
            | Field::Status
            | Field::TagValue(_) => Some(Subject::Text(text)),
        }
    }

    fn tags(&self) -> impl Iterator<Item = (&str, &str)> {
        self.text.into_iter().map(|tag| (tag, tag))
    }
}

/// What is accepted keeps the limits and is the same when it was printed, also for a device; what is
/// refused is refused at a place that is there, in few words.
pub fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let query = match Query::parse(text) {
        Ok(query) => query,
        Err(refused) => {
            assert!(refused.at <= text.chars().count(), "{refused}");
            assert!(refused.to_string().len() <= REFUSAL_BYTES_MAX, "{refused}");
            return;
        }
    };
    let terms = query.terms();
    assert!(text.len() <= QUERY_BYTES_MAX && terms.len() <= TERMS_MAX);
    assert!(terms.iter().map(|term| values(term)).sum::<usize>() <= VALUES_MAX);
    check_nodes(query.root());
    let printed = query.to_string();
    // Quotation marks may make it longer than a query may be.
    if printed.len() <= QUERY_BYTES_MAX {
        let again = Query::parse(&printed).expect("what was printed is a query");
        assert_eq!(again, query, "another query when written again: {printed}");
    }
    let device = |text| Device { text, version: Version::new(1, 2, 3) };
    let negated = truth(query.root(), &Term::is_negated);
    assert_eq!(query.matches(&device(None)), negated, "{printed}");
    let tail = text.char_indices().nth_back(7).map_or("", |(at, _)| &text[at..]);
    for text in ["", "a", tail] {
        let device = device(Some(text));
        let is_true = |term: &Term| {
            let subject = device.fact(term.field()).unwrap_or(Subject::Text(text));
            term.accepts(subject) != term.is_negated()
        };
        assert_eq!(query.matches(&device), truth(query.root(), &is_true), "{printed}");
    }
}

fn values(term: &Term) -> usize {
    match term.test() {
        Test::Among { values, .. } => values.len(),
        Test::Compares(..) => 1,
    }
}

/// Puts together what is true of the comparisons.
fn truth(node: &Node, is_true: &impl Fn(&Term) -> bool) -> bool {
    match node {
        Node::All(parts) => !parts.iter().any(|part| !truth(part, is_true)),
        Node::Any(parts) => !parts.iter().all(|part| !truth(part, is_true)),
        Node::Term(term) => is_true(term),
    }
}

/// No part is directly in one of its own kind, and none is alone.
fn check_nodes(node: &Node) {
    let parts = match node {
        Node::Term(_) => return,
        Node::All(parts) => {
            assert!(!parts.iter().any(|part| matches!(part, Node::All(_))));
            parts
        }
        Node::Any(parts) => {
            assert!(!parts.iter().any(|part| matches!(part, Node::Any(_))));
            parts
        }
    };
    assert!(parts.len() > 1);
    parts.iter().for_each(check_nodes);
}
