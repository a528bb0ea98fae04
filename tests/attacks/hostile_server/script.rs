//! What a hostile server does, answer by answer: plain data, so that a script that finds something
//! can be made smaller. The first of each list is what an honest server does.

use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use waxwing_agent::ports::ResetReason;

use super::library::{GENERATIONS, GOOD, NEWEST, PINS, RELEASES, TWIN_OF_GOOD, TWIN_OF_NEWEST};

/// Answers of one story: enough for two updates with everything that goes wrong in between.
const ANSWERS_MAX: usize = 12;
/// Seconds of ten years, the most by which the server lies about time.
const LIE_MAX_S: u64 = 10 * 365 * 24 * 3600;

/// The answer to one poll, and what goes on until the next.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) choice: Choice,
    pub(crate) pins: Pins,
    pub(crate) version: Version,
    pub(crate) time: Time,
    pub(crate) nonce: Nonce,
    /// From now on this generation of the Image repository.
    pub(crate) generation: Option<usize>,
    pub(crate) tampering: Vec<Tampering>,
    pub(crate) body: Body,
    pub(crate) acknowledges: bool,
    pub(crate) retry_after_s: u32,
    pub(crate) download: Download,
    pub(crate) message: Option<Said>,
    pub(crate) power_cut: Option<(u64, usize)>,
    pub(crate) resets: Option<Resets>,
}

/// By what the device is to know its server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pins {
    AsBefore,
    /// What the keyholders say.
    Right,
    /// The Director names the first, the second comes.
    Of(usize, usize),
}

/// Resets that nobody asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resets {
    /// How often, in a row.
    pub(crate) times: u8,
    /// After how many turns each.
    pub(crate) turns: u8,
    pub(crate) reason: ResetReason,
}

/// What the Director names.
#[derive(Clone, Debug)]
pub(crate) enum Choice {
    AsBefore,
    Release(usize),
    Nothing,
    /// A release, described otherwise than it is.
    Described(usize, Change),
    /// The length and hash of the second under the path of the first.
    Disguised(usize, usize),
    Two(usize, usize),
    Delegated,
    ForAnother(usize),
}

/// What is changed in a description.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    SecurityVersion(u32),
    SecureVersion(u32),
    Length(u32),
    Hardware,
    Version,
    Kind,
    Path,
    Soak(u32),
    NoMatch,
}

/// The version of the Director's decision.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Version {
    Right,
    Same,
    Lower,
    Highest,
}

/// The time that the Director attests.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Time {
    Right,
    Ahead(u64),
    Behind(u64),
    End,
}

/// The poll that the Director answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Nonce {
    Right,
    Wrong,
    /// A whole earlier answer, once more.
    Replayed(usize),
}

/// What is done to the files of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Tampering {
    Drop(Index),
    Flip(Index, Index, u8),
    Truncate(Index, Index),
    /// The content of the first is that of the second.
    Swap(Index, Index),
    /// The file of this name in another generation.
    Of(Index, usize),
    /// The file of this name in the other product's repository.
    Foreign(Index),
    /// The same content, signed by the server.
    SignedByServer(Index),
    /// The file comes as one of the other repository.
    OtherRepository(Index),
    /// Something else of this name comes first.
    Before(Index, Index),
    Long(Index),
    /// Something hostile within the file, which is signed by the server, or not at all.
    Bomb {
        file: Index,
        bomb: Bomb,
        is_signed: bool,
        bytes: usize,
    },
}

/// What takes far more memory or time than it has bytes, if it is read without care.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bomb {
    Deep,
    Escapes,
    Members,
    Numbers,
    Signatures,
    /// Members in the order that costs most to sort.
    Unsorted,
}

/// What is done to the body of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Whole,
    Flip(Index, u8),
    Garbage(Vec<u8>),
    HugeFrame(Index),
    None(u16),
    Oversize,
    Stalled,
    TooManyFrames,
    Truncate(Index),
}

/// How the server answers a download.
#[derive(Clone, Debug)]
pub(crate) enum Download {
    Right,
    Another(usize),
    Endless,
    Flip(Index, u8),
    Refused(u16),
    Short(Index),
    Stalled,
    WrongRange,
}

/// What the server says while the device waits.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    Poll,
    Replayed,
    ForAnother,
    Garbage(Vec<u8>),
    Acknowledged,
    Bomb(Bomb),
}

/// A server that is only hostile is never believed: most answers are honest, to be abused later.
pub(crate) fn scripts() -> impl Strategy<Value = Vec<Answer>> {
    vec(prop_oneof![3 => Just(Answer::HONEST), 2 => hostile()], 1..=ANSWERS_MAX)
}

impl Answer {
    pub(crate) const HONEST: Self = Self {
        choice: Choice::AsBefore,
        pins: Pins::AsBefore,
        version: Version::Right,
        time: Time::Right,
        nonce: Nonce::Right,
        generation: None,
        tampering: Vec::new(),
        body: Body::Whole,
        acknowledges: true,
        retry_after_s: 60,
        download: Download::Right,
        message: None,
        power_cut: None,
        resets: None,
    };

    /// Names what this does, for a count.
    pub(crate) fn moves(&self) -> Vec<String> {
        let mut moves = vec![
            named("choice", &self.choice),
            named("pins", &self.pins),
            named("version", &self.version),
            named("time", &self.time),
            named("nonce", &self.nonce),
            named("generation", &self.generation.is_some()),
            named("body", &self.body),
            named("download", &self.download),
            named("cut", &self.power_cut.is_some()),
        ];
        moves.extend(self.tampering.iter().map(|tampering| named("tampering", tampering)));
        moves.extend(self.tampering.iter().filter_map(Tampering::bomb));
        moves.extend(self.message.iter().map(|said| named("message", said)));
        moves.extend(self.resets.iter().map(|resets| named("reset", &resets.reason)));
        if let Choice::Described(_, change) = &self.choice {
            moves.push(named("description", change));
        }
        moves
    }
}

impl Tampering {
    fn bomb(&self) -> Option<String> {
        let Self::Bomb { bomb, is_signed, .. } = self else { return None };
        Some(named(if *is_signed { "signed" } else { "unsigned" }, bomb))
    }
}

/// Returns the name of a variant, with a word before it.
fn named(of: &str, variant: &impl fmt::Debug) -> String {
    let text = format!("{variant:?}");
    let name = text.split(|c: char| !c.is_alphanumeric()).next();
    format!("{of} {}", name.unwrap_or_default())
}

fn hostile() -> impl Strategy<Value = Answer> {
    let director = (choice(), pins(), version(), time(), nonce());
    let image = (prop_oneof![3 => Just(None), 1 => (0..GENERATIONS).prop_map(Some)], tampering());
    let retry = prop_oneof![20 => Just(60), 1 => Just(0), 1 => Just(u32::MAX)];
    let rest = (body(), any::<bool>(), retry, download(), message());
    (director, image, rest, power_cut(), resets()).prop_map(|parts| {
        let (director, image, rest, power_cut, resets) = parts;
        let (choice, pins, version, time, nonce) = director;
        let (generation, tampering) = image;
        let (body, acknowledges, retry_after_s, download, message) = rest;
        Answer {
            choice,
            pins,
            version,
            time,
            nonce,
            generation,
            tampering,
            body,
            acknowledges,
            retry_after_s,
            download,
            message,
            power_cut,
            resets,
        }
    })
}

fn choice() -> impl Strategy<Value = Choice> {
    let release = || 0..RELEASES;
    prop_oneof![
        40 => Just(Choice::AsBefore),
        10 => release().prop_map(Choice::Release),
        2 => Just(Choice::Nothing),
        4 => (release(), change()).prop_map(|(release, change)| Choice::Described(release, change)),
        2 => (release(), release()).prop_map(|(path, image)| Choice::Disguised(path, image)),
        // The disguises that fit: only that two repositories must agree gives them away.
        4 => Just(Choice::Disguised(GOOD, TWIN_OF_GOOD)),
        2 => Just(Choice::Disguised(NEWEST, TWIN_OF_NEWEST)),
        1 => (release(), release()).prop_map(|(one, other)| Choice::Two(one, other)),
        1 => Just(Choice::Delegated),
        1 => release().prop_map(Choice::ForAnother),
    ]
}

fn pins() -> impl Strategy<Value = Pins> {
    let pins = || 0..PINS.len();
    prop_oneof![
        20 => Just(Pins::AsBefore),
        4 => Just(Pins::Right),
        1 => (pins(), pins()).prop_map(|(named, sent)| Pins::Of(named, sent)),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        any::<u32>().prop_map(Change::Soak),
        (0..5_u32).prop_map(Change::SecurityVersion),
        (0..20_u32).prop_map(Change::SecureVersion),
        any::<u32>().prop_map(Change::Length),
        Just(Change::Hardware),
        Just(Change::Version),
        Just(Change::Kind),
        Just(Change::Path),
        Just(Change::NoMatch),
    ]
}

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![
        30 => Just(Version::Right),
        1 => Just(Version::Same),
        1 => Just(Version::Lower),
        1 => Just(Version::Highest),
    ]
}

fn time() -> impl Strategy<Value = Time> {
    prop_oneof![
        30 => Just(Time::Right),
        1 => (0..LIE_MAX_S).prop_map(Time::Ahead),
        1 => (0..LIE_MAX_S).prop_map(Time::Behind),
        1 => Just(Time::End),
    ]
}

fn nonce() -> impl Strategy<Value = Nonce> {
    prop_oneof![
        30 => Just(Nonce::Right),
        1 => Just(Nonce::Wrong),
        2 => (0..ANSWERS_MAX).prop_map(Nonce::Replayed),
    ]
}

fn tampering() -> impl Strategy<Value = Vec<Tampering>> {
    prop_oneof![4 => vec(one_tampering(), 0..1), 1 => vec(one_tampering(), 1..4)]
}

fn one_tampering() -> impl Strategy<Value = Tampering> {
    let index = any::<Index>;
    let of_files = prop_oneof![
        index().prop_map(Tampering::Drop),
        (index(), index(), 0..8_u8).prop_map(|(file, at, bit)| Tampering::Flip(file, at, bit)),
        (index(), index()).prop_map(|(file, at)| Tampering::Truncate(file, at)),
        (index(), index()).prop_map(|(to, from)| Tampering::Swap(to, from)),
        (index(), 0..GENERATIONS).prop_map(|(file, of)| Tampering::Of(file, of)),
        index().prop_map(Tampering::Foreign),
        index().prop_map(Tampering::SignedByServer),
        index().prop_map(Tampering::OtherRepository),
        (index(), index()).prop_map(|(name, from)| Tampering::Before(name, from)),
        index().prop_map(Tampering::Long),
    ];
    prop_oneof![3 => of_files, 1 => one_bomb()]
}

fn one_bomb() -> impl Strategy<Value = Tampering> {
    (any::<Index>(), bomb(), any::<bool>(), bomb_bytes()).prop_map(|parts| {
        let (file, bomb, is_signed, bytes) = parts;
        Tampering::Bomb { file, bomb, is_signed, bytes }
    })
}

fn bomb() -> impl Strategy<Value = Bomb> {
    prop_oneof![
        Just(Bomb::Deep),
        Just(Bomb::Escapes),
        Just(Bomb::Members),
        Just(Bomb::Numbers),
        Just(Bomb::Signatures),
        Just(Bomb::Unsorted),
    ]
}

/// What fits the limits of a timestamp, of the Director's other files, of the Image repository's.
fn bomb_bytes() -> impl Strategy<Value = usize> {
    prop_oneof![Just(1000_usize), Just(3000), Just(15_000)]
}

fn body() -> impl Strategy<Value = Body> {
    let index = any::<Index>;
    prop_oneof![
        40 => Just(Body::Whole),
        1 => (index(), 0..8_u8).prop_map(|(at, bit)| Body::Flip(at, bit)),
        1 => vec(any::<u8>(), 0..64).prop_map(Body::Garbage),
        1 => index().prop_map(Body::HugeFrame),
        1 => any::<u16>().prop_map(Body::None),
        1 => Just(Body::Oversize),
        1 => Just(Body::Stalled),
        1 => Just(Body::TooManyFrames),
        1 => index().prop_map(Body::Truncate),
    ]
}

fn download() -> impl Strategy<Value = Download> {
    let index = any::<Index>;
    prop_oneof![
        20 => Just(Download::Right),
        2 => (0..RELEASES).prop_map(Download::Another),
        1 => Just(Download::Endless),
        1 => (index(), 0..8_u8).prop_map(|(at, bit)| Download::Flip(at, bit)),
        1 => any::<u16>().prop_map(Download::Refused),
        1 => index().prop_map(Download::Short),
        1 => Just(Download::Stalled),
        1 => Just(Download::WrongRange),
    ]
}

fn message() -> impl Strategy<Value = Option<Said>> {
    prop_oneof![
        20 => Just(None),
        1 => Just(Some(Said::Poll)),
        1 => Just(Some(Said::Replayed)),
        1 => Just(Some(Said::ForAnother)),
        1 => vec(any::<u8>(), 0..64).prop_map(|bytes| Some(Said::Garbage(bytes))),
        1 => Just(Some(Said::Acknowledged)),
        1 => bomb().prop_map(|bomb| Some(Said::Bomb(bomb))),
    ]
}

/// After how many flash operations the power goes, and how many bytes of the last one happen.
fn power_cut() -> impl Strategy<Value = Option<(u64, usize)>> {
    let torn = prop_oneof![Just(0_usize), Just(24), Just(28), Just(2048), Just(usize::MAX)];
    prop_oneof![5 => Just(None), 1 => (0..24_u64, torn).prop_map(Some)]
}

/// Alone, or so often that an image that is being watched has to go.
fn resets() -> impl Strategy<Value = Option<Resets>> {
    let reason = prop_oneof![
        Just(ResetReason::Brownout),
        Just(ResetReason::Crash),
        Just(ResetReason::Watchdog)
    ];
    let times = prop_oneof![2 => Just(1_u8), 1 => Just(4)];
    let resets = (times, 0..24_u8, reason);
    let resets = resets.prop_map(|(times, turns, reason)| Resets { times, turns, reason });
    prop_oneof![5 => Just(None), 1 => resets.prop_map(Some)]
}
