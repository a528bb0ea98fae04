//! What the OpenAPI document says besides the routes.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder, SecurityRequirement,
};

/// Returns the document without routes.
pub(super) fn info() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Waxwing")
        .version("1")
        .description(Some(
            "Products, devices, releases and rollouts. Errors are problem details (RFC 9457) with a \
             stable `code`. Lists are read page by page: pass `next` as `after`. Every change is \
             recorded in the audit log; the header `Waxwing-Reason` says why.",
        ))
        .build();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    let components =
        ComponentsBuilder::new().security_scheme("token", SecurityScheme::Http(bearer)).build();
    let token = SecurityRequirement::new("token", Vec::<String>::new());
    OpenApiBuilder::new().info(info).components(Some(components)).security(Some([token])).build()
}
