package countersign

# faults are what is wrong with data.config. They are read once, when the policy
# is loaded: a policy with faults does not load.

config_keys := {
	"actions", "defaults", "environments", "protected", "raise",
	"require_proved_environment", "rules", "sensitive_tiers", "untrusted_runs",
}

term_keys := {
	"channels", "deadline", "groups", "max_ttl", "notify", "owners",
	"people", "quorum", "risk", "stage", "stages",
}

rule_keys := term_keys | {"pre_approve", "raised"}

pre_approve_keys := {"any_size", "checks", "risks"}

protected_keys := {"audiences", "scopes", "tier"}

raise_keys := {"files", "lines", "paths", "risks"}

faults contains "config must be an object: the policy's data must have one" if not is_object(data.config)

faults contains sprintf("config.%s is missing", [key]) if {
	is_object(data.config)
	some key in config_keys
	not key in object.keys(data.config)
}

faults contains sprintf("config.%s is unknown: use one of %s", [key, concat(", ", config_keys)]) if {
	some key, _ in data.config
	not key in config_keys
}

faults contains sprintf("config.protected.%s is unknown: use one of %s", [key, concat(", ", protected_keys)]) if {
	some key, _ in data.config.protected
	not key in protected_keys
}

faults contains sprintf("config.raise.%s is unknown: use one of %s", [key, concat(", ", raise_keys)]) if {
	some key, _ in data.config.raise
	not key in raise_keys
}

faults contains sprintf("config.raise.%s must be a number", [key]) if {
	some key in {"files", "lines"}
	not is_number(data.config.raise[key])
}

faults contains sprintf("config.%s must be a list of texts", [concat(".", path)]) if {
	is_object(data.config)
	some path in {["sensitive_tiers"], ["protected", "audiences"], ["protected", "scopes"], ["raise", "risks"], ["raise", "paths"]}
	not texts(object.get(data.config, path, null))
}

faults contains "config.require_proved_environment must be true or false" if {
	not is_boolean(data.config.require_proved_environment)
}

faults contains sprintf("config.protected.tier is %v: it must be one of config.sensitive_tiers", [data.config.protected.tier]) if {
	not data.config.protected.tier in data.config.sensitive_tiers
}

faults contains sprintf("config.environments.%s must be the name of a tier", [environment]) if {
	some environment, tier in data.config.environments
	not word(tier)
}

faults contains sprintf("config.environments.%s: a tier may not be called %s", [environment, tier]) if {
	some environment, tier in data.config.environments
	tier in {"any", "none"}
}

faults contains sprintf("config.actions.%s is %v: config.rules has no such kind", [action, kind]) if {
	some action, kind in data.config.actions
	not data.config.rules[kind]
}

faults contains "config.rules.other is missing: it covers the actions that config.actions does not name" if {
	not data.config.rules.other
}

faults contains sprintf("config.untrusted_runs.%s must map values to true", [fact]) if {
	some fact, values in data.config.untrusted_runs
	not every_true(values)
}

faults contains sprintf("config.%s must be an object", [key]) if {
	some key in {"actions", "defaults", "environments", "protected", "raise", "rules", "untrusted_runs"}
	not is_object(data.config[key])
}

faults contains sprintf("config.rules.%s must be an object", [kind]) if {
	some kind, tiers in data.config.rules
	not is_object(tiers)
}

faults contains sprintf("config.rules.%s.%s%s must be an object", [kind, tier, part]) if {
	some kind, tier
	rule := data.config.rules[kind][tier]
	some part, value in {"": rule, ".raised": object.get(as_object(rule), "raised", {})}
	not is_object(value)
}

# A rule is judged over the defaults, as it is used.
layers[["defaults"]] := {"own": data.config.defaults, "terms": data.config.defaults, "keys": term_keys} if {
	is_object(data.config.defaults)
}

layers[["rules", kind, tier]] := {
	"own": rule,
	"terms": object.union(data.config.defaults, rule),
	"keys": rule_keys,
} if {
	is_object(data.config.defaults)
	some kind, tier
	rule := data.config.rules[kind][tier]
	is_object(rule)
}

layers[["rules", kind, tier, "raised"]] := {
	"own": rule.raised,
	"terms": object.union_n([data.config.defaults, rule, rule.raised]),
	"keys": term_keys,
} if {
	is_object(data.config.defaults)
	some kind, tier
	rule := data.config.rules[kind][tier]
	is_object(rule)
	is_object(rule.raised)
}

faults contains fault(path, sprintf("%s is unknown: use one of %s", [key, concat(", ", layer.keys)])) if {
	some path, layer in layers
	some key, _ in layer.own
	not key in layer.keys
}

faults contains fault(path, "max_ttl must be a duration of more than 0s and at most 15m, such as 10m") if {
	some path, layer in layers
	not duration_within(layer.terms.max_ttl, 15 * 60)
}

faults contains fault(path, "deadline must be a duration of more than 0s and at most 168h, such as 4h") if {
	some path, layer in layers
	not duration_within(layer.terms.deadline, 168 * 3600)
}

faults contains fault(path, "risk must be low, medium, high or critical") if {
	some path, layer in layers
	not layer.terms.risk in {"low", "medium", "high", "critical"}
}

faults contains fault(path, "owners must be free or with_another") if {
	some path, layer in layers
	not layer.terms.owners in {"free", "with_another"}
}

faults contains fault(path, "channels must name at least one channel") if {
	some path, layer in layers
	not some_texts(layer.terms.channels)
}

faults contains fault(path, "notify must be a list of channels; it may be empty") if {
	some path, layer in layers
	not texts(layer.terms.notify)
}

faults contains fault(path, "quorum must be a whole number from 1 to 20") if {
	some path, layer in layers
	not layer.terms.stages
	not valid_quorum(layer.terms.quorum)
}

faults contains fault(path, "stage must be the stage's name") if {
	some path, layer in layers
	not word(layer.terms.stage)
}

faults contains fault(path, sprintf("%s must be a list; it may be empty", [key])) if {
	some path, layer in layers
	some key in {"groups", "people"}
	not texts(object.get(layer.terms, key, null))
}

faults contains fault(path, "groups or people must name an approver, or stages must say who approves") if {
	some path, layer in layers
	path != ["defaults"]
	not valid_approvers(layer.terms)
	not layer.terms.stages
}

faults contains fault(path, "stages must be a list of {name, approvers: {groups, people}, quorum, distinct}, each with an approver") if {
	some path, layer in layers
	layer.terms.stages
	not valid_stages(layer.terms.stages)
}

faults contains fault(path, sprintf("%s has no effect beside stages", [key])) if {
	some path, layer in layers
	layer.terms.stages
	not layer.own.stages
	some key in {"groups", "people", "quorum", "stage"}
	key in object.keys(layer.own)
}

faults contains fault(path, "a sensitive tier cannot be pre-approved") if {
	some path, layer in layers
	path[2] in data.config.sensitive_tiers
	layer.own.pre_approve
}

faults contains fault(path, sprintf("pre_approve.%s is unknown: use one of %s", [key, concat(", ", pre_approve_keys)])) if {
	some path, layer in layers
	some key, _ in layer.own.pre_approve
	not key in pre_approve_keys
}

faults contains fault(path, "pre_approve.checks must be none_failed or all_passed") if {
	some path, layer in layers
	layer.own.pre_approve
	not layer.own.pre_approve.checks in {"none_failed", "all_passed"}
}

faults contains fault(path, "pre_approve.risks must be a list of \"\", low, medium, high and critical") if {
	some path, layer in layers
	layer.own.pre_approve
	not valid_risks(layer.own.pre_approve.risks)
}

fault(path, what) := sprintf("config.%s: %s", [concat(".", path), what])

as_object(x) := x if is_object(x)

else := {}

word(x) if {
	is_string(x)
	x != ""
}

texts(list) if {
	is_array(list)
	every x in list {
		word(x)
	}
}

some_texts(list) if {
	texts(list)
	count(list) > 0
}

every_true(values) if {
	is_object(values)
	every value in values {
		value == true
	}
}

# An undefined argument leaves the call undefined, and so the fault stands.
duration_within(text, seconds) if {
	word(text)
	regex.match(`^([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+$`, text)
	ns := time.parse_duration_ns(text)
	ns > 0
	ns <= seconds * 1000000000
}

valid_quorum(n) if {
	is_number(n)
	n == floor(n)
	n >= 1
	n <= 20
}

valid_risks(list) if {
	is_array(list)
	every risk in list {
		risk in object.keys(rank)
	}
}

valid_approvers(who) if {
	groups := object.get(who, "groups", [])
	people := object.get(who, "people", [])
	texts(groups)
	texts(people)
	count(groups) + count(people) > 0
}

valid_stages(list) if {
	is_array(list)
	count(list) > 0
	every stage in list {
		every key, _ in stage {
			key in {"approvers", "distinct", "name", "quorum"}
		}
		word(stage.name)
		valid_quorum(stage.quorum)
		is_boolean(object.get(stage, "distinct", false))
		every key, _ in stage.approvers {
			key in {"groups", "people"}
		}
		valid_approvers(stage.approvers)
	}
}
