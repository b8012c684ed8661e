#!/bin/sh
# Deploy a service: build its image, test it as a job, roll the service over to it, and look whether it is ready.
#
#   SKREI_API_URL=http://10.0.0.1:1234 SKREI_API_KEY_FILE=token VERSION=42 sh examples/ci/deploy.sh
#
# Exit code: 0 the version serves; 1 it was never ready, and what served before serves again; whatever the tests ended
# with where they failed, and nothing was touched; 125 where one of the two could not even be run.
set -eu
cd "$(dirname "$0")"

NAME=${NAME:-shop}
VERSION=${VERSION:?the version to deploy, for example the commit}
IMAGE=${IMAGE:-$NAME:$VERSION}         # with the registry in front where nodes are other machines than this one
RUN_ID=${RUN_ID:-$NAME-$VERSION-$(date +%s)-$$}  # of this run alone: a step that is sent again is not done again
READY_SECONDS=${READY_SECONDS:-120}    # how long nothing more of a version may become ready

step() {
    printf '== %s\n' "$*" >&2
}

submit() { # a template of this folder, and options of `skrei job run`
    file=$1
    shift
    skrei job run --idempotency-token "$RUN_ID-$file" \
        --template-vars "name=$NAME,version=$VERSION,image=$IMAGE,ready=$READY_SECONDS" "$@" "$file"
}

serves() { # is it this version that the service is at?
    skrei job describe "$NAME" --output json --pretty=false | grep -q "\"version\": *\"$VERSION\""
}

step "build $IMAGE"
docker build --quiet --build-arg "VERSION=$VERSION" --tag "$IMAGE" app >/dev/null
case $IMAGE in
    */*) docker push --quiet "$IMAGE" ;;
esac

step "test"
submit test.yaml --follow --quiet --force

step "roll $NAME over to $VERSION"
submit service.yaml --id-only --force >/dev/null

step "check"
if skrei job wait --for ready --timeout $((READY_SECONDS * 3)) "$NAME" && serves; then
    step "$NAME is at $VERSION"
    exit 0
fi
if serves; then
    step "roll back"
    skrei job rollback "$NAME" || skrei job stop --reason "version $VERSION was never ready" "$NAME"
fi
step "$NAME is not at $VERSION: it was never ready"
exit 1
