//! What may follow what in a query.

use super::scanner::{Char, Scanner};
use super::{
    Cause, Comparison, DEPTH_MAX, Field, Node, QUERY_BYTES_MAX, Refused, TERMS_MAX, Term, Test,
    VALUES_MAX, Value,
};

/// A comparison as it is written.
#[derive(Clone, Copy, Debug)]
enum Operator {
    Compares(Comparison),
    Equals,
    In,
    NotEquals,
    NotIn,
}

struct Parser<'a> {
    scanner: Scanner<'a>,
    terms: usize,
    values: usize,
}

/// Understands a query.
pub(super) fn parse(text: &str) -> Result<Node, Refused> {
    let mut parser = Parser { scanner: Scanner::new(text), terms: 0, values: 0 };
    if text.len() > QUERY_BYTES_MAX {
        return parser.scanner.refuse(text.len(), Cause::TooLong);
    }
    let place = parser.scanner.next_word();
    if parser.scanner.is_at_end() {
        return parser.scanner.refuse(place, Cause::Empty);
    }
    let root = parser.any(0)?;
    let place = parser.scanner.next_word();
    if !parser.scanner.is_at_end() {
        let expected = Cause::Expected("`;`, `,`, `and`, `or` or the end");
        return parser.scanner.refuse(place, expected);
    }
    Ok(root)
}

impl Parser<'_> {
    fn any(&mut self, depth: usize) -> Result<Node, Refused> {
        let mut parts = vec![self.all(depth)?];
        while self.scanner.skip(',') || self.scanner.skip_word("or") {
            parts.push(self.all(depth)?);
        }
        Ok(joined(parts, Node::Any, |part| match part {
            Node::Any(parts) => Ok(parts),
            other @ (Node::All(_) | Node::Term(_)) => Err(other),
        }))
    }

    fn all(&mut self, depth: usize) -> Result<Node, Refused> {
        let mut parts = vec![self.part(depth)?];
        while self.scanner.skip(';') || self.scanner.skip_word("and") {
            parts.push(self.part(depth)?);
        }
        Ok(joined(parts, Node::All, |part| match part {
            Node::All(parts) => Ok(parts),
            other @ (Node::Any(_) | Node::Term(_)) => Err(other),
        }))
    }

    fn part(&mut self, depth: usize) -> Result<Node, Refused> {
        let place = self.scanner.next_word();
        if !self.scanner.skip('(') {
            return self.term(place).map(Node::Term);
        }
        if depth == DEPTH_MAX {
            return self.scanner.refuse(place, Cause::TooDeep);
        }
        let node = self.any(depth + 1)?;
        self.closed()?;
        Ok(node)
    }

    fn term(&mut self, place: usize) -> Result<Term, Refused> {
        let name = self.scanner.name();
        if name.is_empty() {
            return self.scanner.refuse(place, Cause::Expected("a field"));
        }
        let field = Field::parse(name).or_else(|cause| self.scanner.refuse(place, cause))?;
        self.terms += 1;
        if self.terms > TERMS_MAX {
            return self.scanner.refuse(place, Cause::TooManyTerms);
        }
        let place = self.scanner.next_word();
        let operator = self.operator(place)?;
        if matches!(operator, Operator::Compares(_)) && !field.is_ordered() {
            return self.scanner.refuse(place, Cause::NotOrdered(field.name()));
        }
        let test = self.test(&field, operator)?;
        Ok(Term { field, test })
    }

    fn operator(&mut self, place: usize) -> Result<Operator, Refused> {
        match self.scanner.comparison() {
            "==" => Ok(Operator::Equals),
            "!=" => Ok(Operator::NotEquals),
            "=in=" => Ok(Operator::In),
            "=out=" => Ok(Operator::NotIn),
            "<" | "=lt=" => Ok(Operator::Compares(Comparison::Less)),
            "<=" | "=le=" => Ok(Operator::Compares(Comparison::LessOrEqual)),
            ">" | "=gt=" => Ok(Operator::Compares(Comparison::Greater)),
            ">=" | "=ge=" => Ok(Operator::Compares(Comparison::GreaterOrEqual)),
            "" => self.scanner.refuse(place, Cause::Expected("a comparison, such as ==")),
            other => self.scanner.refuse(place, Cause::UnknownComparison(other.to_owned())),
        }
    }

    fn test(&mut self, field: &Field, operator: Operator) -> Result<Test, Refused> {
        match operator {
            Operator::Compares(comparison) => {
                let value = self.value(|chars| Value::to_order(field, chars))?;
                Ok(Test::Compares(comparison, value))
            }
            Operator::Equals | Operator::NotEquals => {
                let values = vec![self.value(|chars| Value::to_match(field, chars))?];
                let negated = matches!(operator, Operator::NotEquals);
                Ok(Test::Among { values, negated })
            }
            Operator::In | Operator::NotIn => {
                let negated = matches!(operator, Operator::NotIn);
                Ok(Test::Among { values: self.list(field)?, negated })
            }
        }
    }

    /// Reads a list, or the one value that may stand for it.
    fn list(&mut self, field: &Field) -> Result<Vec<Value>, Refused> {
        let exact = |chars: Vec<Char>| {
            if chars.contains(&Char::Wildcard) {
                return Err(Cause::Wildcard);
            }
            Value::to_match(field, chars)
        };
        if !self.scanner.skip('(') {
            return Ok(vec![self.value(exact)?]);
        }
        let mut values = vec![self.value(exact)?];
        while self.scanner.skip(',') {
            values.push(self.value(exact)?);
        }
        self.closed()?;
        Ok(values)
    }

    fn value(
        &mut self,
        meant: impl Fn(Vec<Char>) -> Result<Value, Cause>,
    ) -> Result<Value, Refused> {
        let place = self.scanner.next_word();
        self.values += 1;
        if self.values > VALUES_MAX {
            return self.scanner.refuse(place, Cause::TooManyValues);
        }
        if self.scanner.skip('(') {
            return self.scanner.refuse(place, Cause::OneValue);
        }
        let chars = self.scanner.value()?;
        meant(chars).or_else(|cause| self.scanner.refuse(place, cause))
    }

    fn closed(&mut self) -> Result<(), Refused> {
        let place = self.scanner.next_word();
        if self.scanner.skip(')') {
            return Ok(());
        }
        self.scanner.refuse(place, Cause::Expected("`)`"))
    }
}

/// Makes one node of several parts; those of its own kind become parts themselves.
fn joined(
    parts: Vec<Node>,
    node: impl Fn(Vec<Node>) -> Node,
    inner: impl Fn(Node) -> Result<Vec<Node>, Node>,
) -> Node {
    let flatten = |part| inner(part).unwrap_or_else(|other| vec![other]);
    let mut parts: Vec<_> = parts.into_iter().flat_map(flatten).collect();
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        last => {
            parts.extend(last);
            node(parts)
        }
    }
}
