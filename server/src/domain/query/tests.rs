//! What users of hawkBit write, what is refused and where, and random queries against an evaluator
//! that was written without looking at ours.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A device that is only what a query can see of it.
#[derive(Clone, Debug, Default)]
struct Thing {
    device: String,
    product: String,
    status: String,
    created_at: u64,
    version: Option<Version>,
    tags: BTreeMap<String, String>,
    attributes: BTreeMap<String, String>,
}

impl Facts for Thing {
    fn id(&self) -> &str {
        &self.device
    }

    fn product(&self) -> &str {
        &self.product
    }

    fn fact(&self, field: &Field) -> Option<Subject<'_>> {
        match field {
            Field::Attribute(key) => self.attributes.get(key).map(|it| Subject::Text(it)),
            Field::CreatedAt => Some(Subject::Time(self.created_at)),
            Field::Device => Some(Subject::Text(&self.device)),
            Field::Product => Some(Subject::Text(&self.product)),
            Field::Status => Some(Subject::Text(&self.status)),
            Field::Tag => None,
            Field::TagValue(key) => self.tags.get(key).map(|it| Subject::Text(it)),
            Field::Version => self.version.as_ref().map(Subject::Version),
        }
    }

    fn tags(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tags.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn thing() -> Thing {
    Thing {
        device: "th1-0042".to_owned(),
        product: "th1".to_owned(),
        status: "active".to_owned(),
        created_at: 1_795_000_000_000,
        version: Some(Version::new(1, 10, 0)),
        tags: map(&[("canary", ""), ("site", "Berlin Mitte")]),
        attributes: map(&[("cells", "12"), ("boot", "2.0.0-rc.1"), ("motto", "a*b\"c")]),
    }
}

#[track_caller]
fn check(query: &str, expected: bool) {
    let parsed = Query::parse(query).unwrap_or_else(|refused| panic!("{query}: {refused}"));
    assert_eq!(parsed.matches(&thing()), expected, "{query}");
}

#[test]
fn users_of_hawkbit_keep_their_queries() {
    for query in [
        "controllerId==th1-0042",
        "id==TH1-*",
        "name==*0042",
        "targettype.key==th1",
        "installedds.version==1.10.0",
        "tag==canary",
        "tag!=beta and tag==canary",
        "tag=in=(canary,beta);attribute.cells==12",
        "(tag==beta or tag==canary) and name==th1-*",
        "metadata.site=='berlin mitte'",
        "metadata.site==\"*mitte\"",
        "attribute.cells=gt=9",
        "createdat=lt=1795000000001",
        "createdat>=2026-11-18T00:00:00Z",
        "name!=*7,tag=out=(canary)",
    ] {
        check(query, true);
    }
}

#[test]
fn versions_compare_as_semver_says_and_not_as_text() {
    check("version=gt=1.9.0", true);
    check("version<1.9.0", false);
    check("version=ge=1.10.0;version=le=1.10.0", true);
    check("version=lt=1.10.0-rc.1", false);
    check("version==1.10.*", true);
    check("version==1.10.0+build", true);
    check("attribute.boot<2.0.0", true);
    check("attribute.boot=gt=2.0.0-beta.9", true);
}

#[test]
fn what_a_device_does_not_have_is_equal_to_nothing_and_different_from_all() {
    check("attribute.none==*", false);
    check("attribute.none!=*", true);
    check("attribute.none!=x", true);
    check("attribute.none=out=(x,y)", true);
    check("attribute.none=lt=5", false);
    check("attribute.none=ge=5", false);
    check("tag.canary==''", true);
}

#[test]
fn the_value_says_whether_numbers_versions_or_text_are_compared() {
    check("attribute.cells=lt=100", true);
    check("attribute.cells=lt=100.5", true);
    check("attribute.cells=gt=-3", true);
    check("attribute.boot=gt=1", false);
    check("tag.site=lt=1", false);
    check("tag.site=lt=\"berlin N\"", true);
    check("tag.site=gt=BERLIN", true);
}

#[test]
fn a_backslash_makes_a_star_or_a_quotation_mark_plain() {
    check(r"attribute.motto==a\*b*", true);
    check(r"attribute.motto==a\**c", true);
    check(r#"attribute.motto=="a\*b\"c""#, true);
    check(r#"attribute.motto=='a\*b"c'"#, true);
    check(r"attribute.motto=in=(a\*b)", false);
}

#[test]
fn and_binds_more_than_or() {
    check("tag==canary,tag==x;tag==y", true);
    check("(tag==canary,tag==x);tag==y", false);
    check("tag==x and tag==y or tag==canary", true);
    check("tag==and or tag==or", false);
}

#[test]
fn a_query_is_kept_in_one_spelling() {
    for (written, kept) in [
        (" controllerId == a ", "device==a"),
        ("Version < 1.2.3", "version=lt=1.2.3"),
        ("((tag==a;tag==b);tag==c)", "tag==a;tag==b;tag==c"),
        ("tag==a and (tag==b or (tag==c,tag==d))", "tag==a;(tag==b,tag==c,tag==d)"),
        ("metadata.Site=out='a b'", "tag.Site!=\"a b\""),
        ("tag=in=( a , 'b,c' )", "tag=in=(a,\"b,c\")"),
        ("tag==a***b", "tag==a*b"),
        ("tag==''", "tag==\"\""),
        ("createdat=gt=1970-01-01T00:00:01Z", "createdat=gt=1000"),
    ] {
        assert_eq!(Query::parse(written).unwrap().to_string(), kept, "{written}");
    }
}

#[track_caller]
fn refused(query: &str, at: usize, words: &str) {
    let refused = Query::parse(query).expect_err(query);
    assert_eq!(refused.at, at, "{query}: {refused}");
    assert!(refused.to_string().contains(words), "{query}: {refused}");
}

#[test]
fn what_is_no_query_is_refused_where_it_goes_wrong() {
    refused("", 0, "there is no query");
    refused("   ", 3, "there is no query");
    refused("==x", 0, "expected a field");
    refused("tag", 3, "expected a comparison");
    refused("tag==", 5, "expected a value");
    refused("tag==a tag==b", 7, "expected `;`, `,`, `and`, `or` or the end");
    refused("tag==a;", 7, "expected a field");
    refused("(tag==a", 7, "expected `)`");
    refused("tag==a)", 6, "expected `;`");
    refused("tag==a and", 7, "expected `;`");
    refused("tag=in=(a,)", 10, "expected a value");
    refused("tag=in=(a", 9, "expected `)`");
    refused("tag==(a,b)", 5, "only =in= and =out= take a list");
    refused("tag=='a", 5, "the quotation does not end");
    refused("tag=='a\\", 8, "expected a character");
    refused("é==a", 0, "unknown field `é`");
    refused("tag==é;nmae==a", 7, "unknown field `nmae`; there are device (id,");
    refused("tag=like=a", 3, "unknown comparison `=like=`; there are ==, !=,");
    refused("tag=a", 3, "unknown comparison `=a`");
    refused("tag!a", 3, "unknown comparison `!`");
    refused("tag~a", 3, "expected a comparison");
}

#[test]
fn fields_are_asked_only_what_they_can_answer() {
    refused("attribute==a", 0, "the key is missing");
    refused("attribute.==a", 0, "the key is missing");
    refused("tag.ä==a", 0, "a key is 1 to 64 letters");
    refused("tag=lt=a", 3, "`tag` has no order");
    refused("device>a", 6, "`device` has no order");
    refused("updatestatus==pending", 0, "changes with every poll or update");
    refused("LastControllerRequestAt=gt=0", 0, "`lastcontrollerrequestat` changes");
    refused("version==1.2", 9, "`1.2` is no version");
    refused("version=in=(1.2.3,new)", 18, "`new` is no version");
    refused("createdat==*", 11, "a wildcard works with == and != only");
    refused("createdat==yesterday", 11, "`yesterday` is no time");
    refused("createdat==-5", 11, "`-5` is no time");
    refused("attribute.a=lt=1*", 15, "a wildcard works with");
    refused("tag=in=(a*)", 8, "a wildcard works with");
}

#[test]
fn a_query_has_limits() {
    let nested = |depth| format!("{}tag==a{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Query::parse(&nested(DEPTH_MAX)).is_ok());
    refused(&nested(DEPTH_MAX + 1), DEPTH_MAX, "nested more than 16 deep");
    let terms = |count| vec!["tag==a"; count].join(",");
    assert!(Query::parse(&terms(TERMS_MAX)).is_ok());
    refused(&terms(TERMS_MAX + 1), 7 * TERMS_MAX, "at most 64 comparisons");
    let values = |count| format!("tag=in=({})", vec!["a"; count].join(","));
    assert!(Query::parse(&values(VALUES_MAX)).is_ok());
    refused(&values(VALUES_MAX + 1), 8 + 2 * VALUES_MAX, "at most 512 values");
    let long = |bytes: usize| format!("tag=={}", "x".repeat(bytes - 5));
    assert!(Query::parse(&long(QUERY_BYTES_MAX)).is_ok());
    refused(&long(QUERY_BYTES_MAX + 1), QUERY_BYTES_MAX + 1, "at most 4096 bytes");
    assert!(Query::parse(&format!("tag.{}==a", "k".repeat(KEY_BYTES_MAX))).is_ok());
    refused(&format!("tag.{}==a", "k".repeat(KEY_BYTES_MAX + 1)), 0, "a key is 1 to 64");
}

#[test]
fn a_query_that_could_not_be_read_again_is_refused() {
    let quoted = format!("device=='{}'", "\"".repeat(QUERY_BYTES_MAX / 2));
    refused(&quoted, quoted.len(), "as it is kept");
    let compared = vec!["tag.k<a"; TERMS_MAX - 1].join(",");
    let filled = format!("{compared},device=={}", "x".repeat(QUERY_BYTES_MAX - 9 - compared.len()));
    refused(&filled, filled.len(), "as it is kept");
}

#[test]
fn a_refusal_repeats_little_of_a_query_and_no_control_characters() {
    let long = format!("{}==a", "x".repeat(1000));
    assert!(Query::parse(&long).unwrap_err().to_string().len() < 300);
    let text = Query::parse("a\u{1b}[2J==a").unwrap_err().to_string();
    assert!(text.contains("\\u{1b}"), "{text}");
}

/// A query as somebody means it, with the spelling that they choose.
#[derive(Clone, Debug)]
enum Meant {
    All(Vec<Self>, bool),
    Any(Vec<Self>, bool),
    Is { field: &'static str, spelled: usize, values: Vec<String>, not: bool, quote: bool },
    Before { field: &'static str, value: &'static str, word: usize },
}

const WORDS: [&str; 8] = ["a", "A", "ab", "b", "", "*", "a*", "*b*a"];
const FIELDS: [(&str, [&str; 2]); 6] = [
    ("device", ["controllerId", "device"]),
    ("tag", ["tag", "TAG"]),
    ("tag.x", ["metadata.x", "tag.x"]),
    ("attribute.x", ["attribute.x", "Attribute.x"]),
    ("product", ["targettype", "product"]),
    ("status", ["status", "Status"]),
];
const ORDERED: [(&str, &[&str]); 3] = [
    ("version", &["1.0.0", "1.2.0-rc.1", "1.2.0", "1.10.0"]),
    ("attribute.n", &["1", "9", "10", "-2.5"]),
    ("createdat", &["5", "10"]),
];
const ORDERS: [(&str, [bool; 3]); 8] = [
    ("<", [true, false, false]),
    ("=lt=", [true, false, false]),
    ("<=", [true, true, false]),
    ("=le=", [true, true, false]),
    (">", [false, false, true]),
    ("=gt=", [false, false, true]),
    (">=", [false, true, true]),
    ("=ge=", [false, true, true]),
];

fn meant() -> impl Strategy<Value = Meant> {
    let field = || prop::sample::select(FIELDS.map(|(field, _)| field).to_vec());
    let word = || prop::sample::select(WORDS.map(str::to_owned).to_vec());
    let one = (field(), 0..2_usize, word(), any::<bool>(), any::<bool>()).prop_map(
        |(field, spelled, value, not, quote)| Meant::Is {
            field,
            spelled,
            values: vec![value],
            not,
            quote,
        },
    );
    let listed = prop::sample::select(vec!["a".to_owned(), "B".to_owned(), "ab".to_owned()]);
    let list = (field(), 0..2_usize, prop::collection::vec(listed, 2..4), any::<bool>()).prop_map(
        |(field, spelled, values, not)| Meant::Is { field, spelled, values, not, quote: false },
    );
    let before = (prop::sample::select(ORDERED.to_vec()), any::<prop::sample::Index>(), 0..8_usize)
        .prop_map(|((field, values), n, word)| Meant::Before {
            field,
            value: values[n.index(values.len())],
            word,
        });
    let leaf = prop_oneof![3 => one, 1 => list, 2 => before];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let parts = || (prop::collection::vec(inner.clone(), 2..4), any::<bool>());
        prop_oneof![
            parts().prop_map(|(parts, word)| Meant::All(parts, word)),
            parts().prop_map(|(parts, word)| Meant::Any(parts, word)),
        ]
    })
}

impl Meant {
    fn spelled(&self) -> String {
        let joined = |parts: &[Self], separator: &str| {
            let parts: Vec<_> = parts.iter().map(|part| format!("({})", part.spelled())).collect();
            parts.join(separator)
        };
        match self {
            Self::All(parts, word) => joined(parts, if *word { " and " } else { " ; " }),
            Self::Any(parts, word) => joined(parts, if *word { " or " } else { "," }),
            Self::Is { field, spelled, values, not, quote } => {
                let (_, names) = FIELDS.iter().find(|(name, _)| name == field).unwrap();
                let name = names[*spelled];
                if let [value] = values.as_slice() {
                    let value = match (quote, value.as_str()) {
                        (true, _) | (_, "") => format!("'{value}'"),
                        (false, value) => value.to_owned(),
                    };
                    return format!("{name}{}{value}", if *not { "!=" } else { " == " });
                }
                let operator = if *not { "=out=" } else { "=in=" };
                format!("{name}{operator}( {} )", values.join(" ,"))
            }
            Self::Before { field, value, word } => format!("{field}{}{value}", ORDERS[*word].0),
        }
    }

    fn is_true_of(&self, thing: &Thing) -> bool {
        match self {
            Self::All(parts, _) => !parts.iter().any(|part| !part.is_true_of(thing)),
            Self::Any(parts, _) => parts.iter().filter(|part| part.is_true_of(thing)).count() > 0,
            Self::Is { field, values, not, .. } => {
                let has: Vec<&String> = match *field {
                    "device" => vec![&thing.device],
                    "product" => vec![&thing.product],
                    "status" => vec![&thing.status],
                    "tag" => thing.tags.keys().collect(),
                    "tag.x" => thing.tags.get("x").into_iter().collect(),
                    _ => thing.attributes.get("x").into_iter().collect(),
                };
                let found = has.iter().any(|text| {
                    let text: Vec<char> = text.to_lowercase().chars().collect();
                    values
                        .iter()
                        .any(|v| glob(&v.to_lowercase().chars().collect::<Vec<_>>(), &text))
                });
                if *not { !found } else { found }
            }
            Self::Before { field, value, word } => {
                let [before, same, after] = ORDERS[*word].1;
                let place = |order: Option<Ordering>| match order {
                    None => false,
                    Some(Ordering::Less) => before,
                    Some(Ordering::Equal) => same,
                    Some(Ordering::Greater) => after,
                };
                place(match *field {
                    "version" => {
                        thing.version.as_ref().map(|v| v.cmp(&Version::parse(value).unwrap()))
                    }
                    "createdat" => Some(thing.created_at.cmp(&value.parse().unwrap())),
                    _ => thing.attributes.get("n").and_then(|n| {
                        n.parse::<f64>().ok()?.partial_cmp(&value.parse::<f64>().unwrap())
                    }),
                })
            }
        }
    }
}

fn glob(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        (['*', rest @ ..], _) => (0..=text.len()).any(|n| glob(rest, &text[n..])),
        ([p, rest @ ..], [t, more @ ..]) if p == t => glob(rest, more),
        _ => false,
    }
}

fn any_thing() -> impl Strategy<Value = Thing> {
    let word = || prop::sample::select(vec!["a", "b", "ab", "AB", "ba", "abba"]);
    let number = prop::sample::select(vec!["1", "9", "10", "-3", "text", "9.0"]);
    let version = prop::sample::select(vec!["1.0.0", "1.2.0-rc.1", "1.2.0", "1.10.0"]);
    let tags = prop::collection::btree_map(
        prop::sample::select(vec!["a", "x", "b"]).prop_map(str::to_owned),
        word().prop_map(str::to_owned),
        0..3,
    );
    let attributes = (prop::option::of(word()), prop::option::of(number));
    (word(), word(), tags, attributes, prop::option::of(version), 0..12_u64).prop_map(
        |(device, status, tags, (x, n), version, created_at)| Thing {
            device: device.to_owned(),
            product: "ab".to_owned(),
            status: status.to_owned(),
            created_at,
            version: version.map(|version| Version::parse(version).unwrap()),
            tags,
            attributes: [("x", x), ("n", n)]
                .into_iter()
                .filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())))
                .collect(),
        },
    )
}

proptest! {
    #[test]
    fn a_query_finds_whom_its_author_meant(
        meant in meant(),
        things in prop::collection::vec(any_thing(), 8),
    ) {
        let text = meant.spelled();
        let query = Query::parse(&text).unwrap_or_else(|refused| panic!("{text}: {refused}"));
        for thing in things {
            prop_assert_eq!(query.matches(&thing), meant.is_true_of(&thing), "{}: {:?}", text, thing);
        }
        let printed = query.to_string();
        prop_assert_eq!(Query::parse(&printed), Ok(query), "{}", printed);
    }

    #[test]
    fn whatever_is_understood_is_the_same_when_it_was_printed(
        text in "(tag|device|version|attribute\\.k|[a-z(]{1,3})(==|!=|=in=\\(|=gt=|<)[ -~é]{0,12}",
    ) {
        if let Ok(query) = Query::parse(&text) {
            let printed = query.to_string();
            prop_assert_eq!(Query::parse(&printed), Ok(query), "{} as {}", text, printed);
        }
    }
}
