//! Downloads: whole, in part, resumed, and refused.

use axum::http::{Method, StatusCode};
use waxwing_tuf::uptane::Answer as Verdict;

use crate::api::sha256;
use crate::fleet::{Device, Fleet};
use crate::support::{Answer, Folder};

async fn download(device: &mut Device, path: &str, headers: &[(&str, &str)]) -> Answer {
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    device.client.send(Method::GET, path, &headers, "").await
}

#[tokio::test]
async fn images_come_whole_in_part_and_resumed_from_memory_and_from_disk() {
    for cache in [64 << 20, 0] {
        let mut folder = Folder::new();
        folder.config.limits.image_cache_bytes = cache;
        let fleet = Fleet::start(&folder).await;
        let mut device = fleet.device("d-1").await;
        let (image, len) = (&fleet.image, fleet.image.len());
        let path = format!("/v1/images/{}", sha256(image));
        let whole = download(&mut device, &path, &[]).await;
        assert_eq!((whole.status, &whole.body[..]), (StatusCode::OK, &image[..]));
        assert_eq!(whole.headers["accept-ranges"], "bytes");
        assert_eq!(whole.headers["content-length"], len.to_string());
        let etag = whole.headers["etag"].to_str().unwrap().to_owned();
        assert_eq!(etag, format!("\"{}\"", sha256(image)));

        let rest = [("range", "bytes=1000-"), ("if-range", etag.as_str())];
        let rest = download(&mut device, &path, &rest).await;
        assert_eq!((rest.status, &rest.body[..]), (StatusCode::PARTIAL_CONTENT, &image[1000..]));
        assert_eq!(rest.headers["content-range"], format!("bytes 1000-{}/{len}", len - 1));

        let other = [("range", "bytes=1000-"), ("if-range", "\"other\"")];
        assert_eq!(download(&mut device, &path, &other).await.status, StatusCode::OK);

        let behind = format!("bytes={len}-");
        let behind = download(&mut device, &path, &[("range", &behind)]).await;
        assert_eq!(behind.code(), "range_unsatisfiable");
        assert_eq!(behind.headers["content-range"], format!("bytes */{len}"));

        let head = device.client.send(Method::HEAD, &path, &[], "").await;
        assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
        assert_eq!(head.headers["content-length"], len.to_string());
    }
}

#[tokio::test]
async fn only_images_of_listed_releases_of_its_product_exist_for_a_device() {
    let mut fleet = Fleet::start(&Folder::new()).await;
    let mut device = fleet.device("d-1").await;
    let unlisted = crate::api::image("9.9.9");
    let path = format!("products/th1/images/{}", sha256(&unlisted));
    fleet.admin(Method::PUT, &path, unlisted.clone()).await;
    for name in [sha256(&unlisted).to_string(), "00".repeat(32), "x".to_owned(), "%00".to_owned()] {
        let answer = download(&mut device, &format!("/v1/images/{name}"), &[]).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::NOT_FOUND, "image_unknown")
        );
    }
    let path = format!("/v1/images/{}", sha256(&fleet.image));
    assert_eq!(download(&mut device, &path, &[]).await.status, StatusCode::OK);
    fleet.publisher.roles.get_mut("th1-stable").unwrap().clear();
    let mut bundle = waxwing_wire::bundle::Writer::new();
    for (name, bytes) in fleet.publisher.publication() {
        bundle.push(waxwing_wire::bundle::Kind::Image, &name, &bytes).unwrap();
    }
    fleet.admin(Method::POST, "products/th1/metadata", bundle.finish(0)).await;
    assert_eq!(download(&mut device, &path, &[]).await.code(), "image_unknown", "delisted");
}

#[tokio::test]
async fn a_damaged_image_is_not_handed_out() {
    let mut folder = Folder::new();
    folder.config.limits.image_cache_bytes = 0;
    let fleet = Fleet::start(&folder).await;
    let mut device = fleet.device("d-1").await;
    let name = sha256(&fleet.image).to_string();
    let file = folder.data().join("images").join(&name[..2]).join(&name);
    let mut damaged = fleet.image.clone();
    damaged[500] ^= 1;
    std::fs::write(file, damaged).unwrap();
    let answer = download(&mut device, &format!("/v1/images/{name}"), &[]).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::INTERNAL_SERVER_ERROR, "internal")
    );
}

/// D8: in the Director's word alone; whoever may read the image may read its list.
#[tokio::test]
async fn the_director_names_the_chunk_list_of_an_image_and_its_devices_may_read_it() {
    let fleet = Fleet::start(&Folder::new()).await;
    fleet.import_root().await;
    let mut device = fleet.device("d-1").await;
    fleet.roll_out_to(&mut device).await;
    let Ok(Verdict::Install(install)) = device.poll().await else { panic!("nothing offered") };
    let list: Vec<u8> = fleet.image.chunks(65_536).flat_map(|chunk| sha256(chunk).0).collect();
    assert_eq!(install.chunks, Some(sha256(&list).0));
    let path = format!("/v1/images/{}", sha256(&list));
    let answer = download(&mut device, &path, &[]).await;
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &list[..]));
    let unlisted = crate::api::image("9.9.9");
    fleet
        .admin(Method::PUT, &format!("products/th1/images/{}", sha256(&unlisted)), unlisted.clone())
        .await;
    let path = format!("/v1/images/{}", sha256(&sha256(&unlisted).0));
    assert_eq!(download(&mut device, &path, &[]).await.code(), "image_unknown", "not released");
}
