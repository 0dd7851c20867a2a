# greenroom as a small image: one binary, no shell, an unprivileged user.
#
#   docker build -t greenroom .
#   docker run -v ./app-config.yaml:/etc/greenroom/app-config.yaml:ro -p 127.0.0.1:6432:6432 -p 127.0.0.1:9632:9632 greenroom

FROM rust:1-bookworm AS build
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin greenroom \
    && cp target/release/greenroom /greenroom \
    && mkdir /sockets

FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="greenroom" \
      org.opencontainers.image.description="A PostgreSQL pooling proxy for Backstage" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /greenroom /usr/local/bin/greenroom
COPY config/image.yaml /usr/share/greenroom/image.yaml
# For a unix socket on a volume: a fresh one takes this directory's owner.
COPY --from=build --chown=65532:65532 /sockets /run/greenroom

# Later files win: an operator's file may change anything that the image's own says.
ENV GREENROOM_CONFIG=/usr/share/greenroom/image.yaml:/etc/greenroom/app-config.yaml
WORKDIR /etc/greenroom
USER 65532:65532
EXPOSE 6432 9632
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=5s --retries=3 \
    CMD ["/usr/local/bin/greenroom", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/greenroom"]
CMD ["serve"]
