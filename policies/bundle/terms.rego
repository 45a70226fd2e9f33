package countersign

# config is named here so that it is read once, for each path below data is a read
# of its own. Where a test puts an object in the place of a part of it ("with"), OPA
# lays that over the part instead, but for rules, which are read below by themselves.
config := data.config

# family holds the rules for the action's kind. An action that the service account
# may ask but that data does not name is of the kind "other".
family := data.config.rules[object.get(config.actions, input.request.action, "other")]

# environment is what the caller says, or else what the token proved.
environment := input.request.context.environment if input.request.context.environment != ""

else := object.get(input.facts, "environment", "")

# where is the environment as the end of a phrase.
where := sprintf(" in %s", [environment]) if environment != ""

else := ""

environment_tier := config.environments[environment] if environment != ""

else := "none" if {
	environment == ""
}

# tier is the second key of data.config.rules. A protected audience or scope
# makes a request as sensitive as what it touches, whatever environment it names.
tier := environment_tier if protected_things == set()

else := environment_tier if environment_tier in config.sensitive_tiers

else := config.protected.tier if protected_things != set()

sensitive if tier in config.sensitive_tiers

protected_things contains sprintf("audience %s", [input.request.audience]) if {
	input.request.audience in config.protected.audiences
}

protected_things contains sprintf("audience %s", [audience]) if {
	input.request.audience == ""
	audience in config.protected.audiences
}

protected_things contains sprintf("scope %s", [scope]) if {
	some scope in input.request.scopes
	scope in config.protected.scopes
}

# A scope that names a sensitive environment between colons or slashes, such as
# deploy:production, is protected without being listed.
protected_things contains sprintf("scope %s", [scope]) if {
	some scope in input.request.scopes
	some word in split(replace(scope, "/", ":"), ":")
	config.environments[word] in config.sensitive_tiers
}

rule := own if own := family[tier]

else := family.any

# terms are the rule over the defaults, and what it raises where a change calls
# for more care. Objects merge; anything else replaces.
terms := object.union_n([config.defaults, rule, rule.raised]) if {
	rule.raised
	raise_reasons != set()
}

else := object.union(config.defaults, rule)

raise_reasons contains sprintf("the risk is %s", [input.request.context.risk]) if {
	input.request.context.risk in config.raise.risks
}

raise_reasons contains sprintf("the change touches %d files", [input.request.context.diff.files]) if {
	input.request.context.diff.files >= config.raise.files
}

raise_reasons contains sprintf("the change touches %d lines", [lines]) if {
	lines := input.request.context.diff.added + input.request.context.diff.removed
	lines >= config.raise.lines
}

raise_reasons contains sprintf("the change touches %s", [path]) if {
	some prefix in config.raise.paths
	some path in input.request.context.diff.paths
	startswith(path, prefix)
}

# audience is who the credential is for: as asked, or the only one there is. It
# is undefined where the service account may not have it.
audience := input.request.audience if input.request.audience in input.service_account.audiences

else := input.service_account.audiences[0] if {
	input.request.audience == ""
	input.request.scopes != []
	count(input.service_account.audiences) == 1
}

else := "" if {
	input.request.audience == ""
	input.request.scopes == []
}

rank := {"": 0, "low": 1, "medium": 2, "high": 3, "critical": 4}

# risk is the rule's word or the caller's, whichever is graver: the caller can
# raise it, never lower it.
risk := terms.risk if input.request.context.risk == ""

else := input.request.context.risk if rank[input.request.context.risk] > rank[terms.risk]

else := word if word := terms.risk

else := "high"
