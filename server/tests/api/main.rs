//! The REST API: the real router over a real database, resource by resource.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "test code")]

mod alerts;
mod audit;
mod auth;
mod certificates;
mod commands;
mod devices;
mod director;
mod disk;
mod documents;
mod drafts;
mod dry_runs;
mod expiries;
mod groups;
mod mail;
mod metrics;
mod openapi;
mod pins;
mod plans;
mod products;
mod releases;
mod rollouts;
mod secure_boot;
mod support;
mod telemetry;
mod webhooks;
