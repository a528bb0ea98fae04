//! The rules of the server: pure, no I/O, no clock, no SQL.
//!
//! Times are Unix milliseconds and come in as arguments. Nothing here knows `store`, `http`, `mqtt`
//! or `jobs`.

pub mod alert;
pub mod audit;
pub mod command;
pub mod decision;
pub mod deployment;
pub mod device;
pub mod document;
pub mod effect;
pub mod expiry;
pub mod group;
pub mod letter;
pub mod pins;
pub mod product;
pub mod query;
pub mod release;
pub mod rollout;
pub mod schema;
pub mod sighting;
pub mod sink;
pub mod standing;
pub mod webhook;

pub use decision::Decision;
pub use deployment::Deployment;
pub use device::Device;
pub use group::Group;
pub use pins::Pins;
pub use product::Product;
pub use query::Query;
pub use release::Release;
pub use rollout::Rollout;
pub use sighting::{Running, Sighting};
pub use webhook::Webhook;

/// Makes an enum of words: the same word in the database, the API and the log.
macro_rules! words {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize, utoipa::ToSchema,
        )]
        pub enum $type {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $type {
            /// Every value, in order.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Returns the word used in the database, the API and the log.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            /// Returns the value of this word.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == word)
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(crate) use words;
