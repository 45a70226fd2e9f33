package countersign

# kind is the family of the action: the first key of data.config.rules. An
# action that the service account may ask but that data does not name is "other".
kind := object.get(data.config.actions, input.request.action, "other")

# environment is what the caller says, or else what the token proved.
environment := input.request.context.environment if input.request.context.environment != ""

else := object.get(input.facts, "environment", "")

# where is the environment as the end of a phrase.
where := "" if environment == ""

else := sprintf(" in %s", [environment])

environment_tier := "none" if environment == ""

else := data.config.environments[environment]

# tier is the second key of data.config.rules. A protected audience or scope
# makes a request as sensitive as what it touches, whatever environment it names.
tier := environment_tier if environment_tier in data.config.sensitive_tiers

else := data.config.protected.tier if count(protected_things) > 0

else := environment_tier

sensitive if tier in data.config.sensitive_tiers

protected_things contains sprintf("audience %s", [audience]) if audience in data.config.protected.audiences

protected_things contains sprintf("scope %s", [scope]) if {
	some scope in input.request.scopes
	scope in data.config.protected.scopes
}

# A scope that names a sensitive environment between colons or slashes, such as
# deploy:production, is protected without being listed.
protected_things contains sprintf("scope %s", [scope]) if {
	some scope in input.request.scopes
	some word in split(replace(scope, "/", ":"), ":")
	data.config.environments[word] in data.config.sensitive_tiers
}

rule := specific if specific := data.config.rules[kind][tier]

else := data.config.rules[kind].any

# terms are the rule over the defaults, and what it raises where a change calls
# for more care. Objects merge; anything else replaces.
terms := object.union_n([data.config.defaults, rule, rule.raised]) if raised

else := object.union(data.config.defaults, rule)

raised if count(raise_reasons) > 0

raise_reasons contains sprintf("the risk is %s", [input.request.context.risk]) if {
	input.request.context.risk in data.config.raise.risks
}

raise_reasons contains sprintf("the change touches %d files", [input.request.context.diff.files]) if {
	input.request.context.diff.files >= data.config.raise.files
}

raise_reasons contains sprintf("the change touches %d lines", [lines]) if {
	lines := input.request.context.diff.added + input.request.context.diff.removed
	lines >= data.config.raise.lines
}

raise_reasons contains sprintf("the change touches %s", [path]) if {
	some prefix in data.config.raise.paths
	some path in input.request.context.diff.paths
	startswith(path, prefix)
}

# audience is who the credential is for: as asked, or the only one there is.
audience := input.request.audience if input.request.audience != ""

else := input.service_account.audiences[0] if {
	count(input.request.scopes) > 0
	count(input.service_account.audiences) == 1
}

else := ""

failed_checks contains check.name if {
	some check in input.request.context.checks
	check.status == "failed"
}

rank := {"": 0, "low": 1, "medium": 2, "high": 3, "critical": 4}

# risk is the rule's word or the caller's, whichever is graver: the caller can
# raise it, never lower it.
risk := input.request.context.risk if rank[input.request.context.risk] > rank[terms.risk]

else := word if word := terms.risk

else := "high"
