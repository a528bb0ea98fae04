//! With what a device signs, for a process that has no fleet in memory.

use waxwing_wire::DeviceId;

use super::row::Row;
use super::{Error, Store};
use crate::domain::device::{Certificate, CertificateStatus, Keys};

/// Returns with what a device signs now; nothing if it is not registered. One that is revoked has no keys.
///
/// # Errors
///
/// When the database fails.
pub async fn of_device(store: &Store, device: &DeviceId) -> Result<Option<Keys>, Error> {
    let rows = sqlx::query(
        "SELECT devices.message_secret, certificates.serial, certificates.spki, \
         certificates.status AS certificate_status, certificates.expires_at FROM devices \
         LEFT JOIN certificates ON certificates.device = devices.id \
         AND certificates.status IN ('current', 'next') \
         WHERE devices.id = $1 ORDER BY certificates.issued_at",
    )
    .bind(device.as_str())
    .fetch_all(store.readers())
    .await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let message_secret = Row::new("devices", first).bytes_or_null("message_secret")?;
    let certificates = rows.iter().map(|row| certificate(&Row::new("certificates", row)));
    let certificates = certificates.filter_map(Result::transpose).collect::<Result<_, _>>()?;
    Ok(Some(Keys { certificates, message_secret }))
}

fn certificate(row: &Row<'_>) -> Result<Option<Certificate>, Error> {
    let Some(serial) = row.text_or_null("serial")? else { return Ok(None) };
    Ok(Some(Certificate {
        serial,
        spki: row.bytes("spki")?,
        status: row.word("certificate_status", CertificateStatus::parse)?,
        expires_at: row.number("expires_at")?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Shop;

    #[tokio::test]
    async fn another_process_reads_the_same_keys_as_the_fleet_has() {
        let shop = Shop::open(2).await;
        let in_memory = shop.fleet.device(&Shop::device(1)).unwrap().into_keys();
        let stored = of_device(&shop.store, &Shop::device(1)).await.unwrap().unwrap();
        assert!(!stored.certificates.is_empty());
        assert_eq!(stored, in_memory);
        let unknown = DeviceId::parse("nobody").unwrap();
        assert_eq!(of_device(&shop.store, &unknown).await.unwrap(), None);
    }
}
