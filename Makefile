# Everything that can be done here. "make help" lists it.
GO ?= go
BIN := bin
LINT_VERSION := v2.15.0
VULN_VERSION := v1.1.4
FUZZTIME ?= 10s

.DEFAULT_GOAL := help
.PHONY: help demo build test race lint policy deps fuzz bench e2e vuln clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: build ## show the main job: a request about the last commit, a card to click, a credential
	@$(BIN)/countersign demo

build: ## build the binaries into bin/
	@mkdir -p $(BIN)
	CGO_ENABLED=0 $(GO) build -trimpath -o $(BIN)/ ./cmd/countersign ./cmd/countersign-verify

test: ## run the tests; needs nothing but Go
	$(GO) test ./...

race: ## run the tests under the race detector
	$(GO) test -race -timeout 20m ./...

lint: $(BIN)/golangci-lint ## format, vet and lint
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not formatted:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(BIN)/golangci-lint run ./...

$(BIN)/golangci-lint:
	@mkdir -p $(BIN)
	GOBIN=$(abspath $(BIN)) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

policy: ## run the policy's own tests in OPA's runner, with coverage
	$(GO) test -count=1 -v -run TestDefaultBundle ./policies/opa

deps: ## hold the directions of imports
	$(GO) test -count=1 -run 'TestImport' ./cmd/countersign

fuzz: ## fuzz each parser that faces strangers, FUZZTIME (10s) each
	@$(GO) list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.Dir}}{{end}}' ./... | while read -r dir; do \
		for f in $$(grep -hoE '^func Fuzz[A-Za-z0-9_]+' $$dir/*_test.go 2>/dev/null | sed 's/^func //'); do \
			echo "== $$f in $$dir"; (cd $$dir && $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) .) || exit 1; \
		done; \
	done

bench: ## measure, each figure beside a ceiling of the same run
	$(GO) test -run '^$$' -bench . -benchtime 1s ./store/... ./policies/... ./identity/... ./cmd/countersign

e2e: build ## browser and independent peers; needs Node and Chromium
	cd cmd/countersign/e2e && npm ci --ignore-scripts --no-audit --no-fund && npm run peers && npm run browser

vuln: ## look for known vulnerabilities in what is reachable; VULNDB names an offline database
	$(GO) run golang.org/x/vuln/cmd/govulncheck@$(VULN_VERSION) $(if $(VULNDB),-db file://$(VULNDB)) ./...

clean: ## remove what was built, and the demo's state
	rm -rf $(BIN) .demo
