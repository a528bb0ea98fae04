# syntax=docker/dockerfile:1
# The server and the operator's command line, without a shell and without root.
# Not in here: waxwing-keys. Keys that sign releases stay off line.

FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --package waxwing-server --package waxwing \
    && install -D --target-directory=/out/bin target/release/waxwing-server target/release/waxwing \
    && install -d --mode=0700 /out/data

# Debian 12 with glibc and CA certificates, nothing else.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/bin/ /usr/local/bin/
# A new volume takes its owner and mode from here.
COPY --from=build --chown=65532:65532 /out/data /var/lib/waxwing
VOLUME /var/lib/waxwing

# Configuration and logins of operators live in the volume too:
# config/waxwing/server.toml, config/waxwing/profiles/.
ENV XDG_CONFIG_HOME=/var/lib/waxwing/config
USER 65532:65532

# Devices, enrolment, operators, revoked certificates, MQTT. Health and metrics stay on loopback inside.
EXPOSE 8443 8444 8445 8446 8883
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
    CMD ["/usr/local/bin/waxwing-server", "--health-check"]
ENTRYPOINT ["/usr/local/bin/waxwing-server"]
