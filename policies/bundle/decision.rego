# Package countersign is Countersign's default policy. It decides from the input
# and from data.config alone, and its rule is that absence denies: whatever no
# rule covers is refused, with a reason.
#
# Rules look things up by key or compare with plain equality, so that the time
# of a decision does not grow with the number of service accounts or rules. What
# a decision costs is the rules that it enters and the expressions in them: texts
# and sets of reasons are made only on the path that gives them.
package countersign

default decision := {
	"effect": "deny",
	"reasons": ["the policy has no rule for this request"],
}

decision := {
	"effect": "allow",
	"reasons": [pre_approval],
	"scopes": input.request.scopes,
	"audience": audience,
	"max_ttl": terms.max_ttl,
	"notify": terms.notify,
	"risk": risk,
} if {
	permitted
	input.request.context.risk in terms.pre_approve.risks
	not tier in config.sensitive_tiers
	not blemished
	not doubtful
} else := {
	"effect": "review",
	"reasons": review_reasons,
	"stages": stages,
	"scopes": input.request.scopes,
	"audience": audience,
	"max_ttl": terms.max_ttl,
	"channels": terms.channels,
	"notify": terms.notify,
	"deadline": terms.deadline,
	"risk": risk,
} if {
	permitted
} else := {
	"effect": "deny",
	"reasons": denials,
	"risk": risk,
} if {
	count(denials) > 0
}

pre_approval := sprintf("%s in %s is routine and pre-approved", [input.request.action, environment]) if environment != ""

else := sprintf("%s is routine and pre-approved", [input.request.action])

# doubtful holds where what would be pre-approved needs a person all the same:
# where checks must have passed, which skipped and pending ones have not, ...
doubtful if {
	not terms.pre_approve.checks == "none_failed"
	not checks_passed
}

# ... where a change raises the terms, unless the rule says any size is routine, ...
doubtful if {
	not terms.pre_approve.any_size
	raise_reasons != set()
}

# ... and where data asks for a proof of the environment and there is none.
doubtful if {
	not config.require_proved_environment == false
	not environment_proved
}

checks_passed if {
	count(input.request.context.checks) > 0
	every check in input.request.context.checks {
		check.status == "passed"
	}
}

# The environment of a request is the caller's word: the token or the operator's
# label must name it too.
environment_proved if environment == input.facts.environment

environment_proved if environment == input.service_account.labels.environment

# Without any, there is nothing to prove: the tier is none.
environment_proved if environment == ""

review_reasons contains sprintf("%s%s needs a review", [input.request.action, where])

review_reasons contains sprintf("%s counts as %s", [thing, tier]) if some thing in protected_things

review_reasons contains sprintf("the risk is %s", [input.request.context.risk]) if {
	input.request.context.risk in {"high", "critical"}
}

review_reasons contains sprintf("check %s failed", [check.name]) if {
	some check in input.request.context.checks
	check.status == "failed"
}

review_reasons contains why if some why in raise_reasons

review_reasons contains sprintf("%s is never pre-approved", [run]) if some run in untrusted_runs

review_reasons contains "nothing proves the environment" if {
	terms.pre_approve
	config.require_proved_environment
	not environment_proved
}

# An explicit list of stages wins over the one that groups, people and quorum make.
stages := explicit if explicit := terms.stages

else := [{
	"name": terms.stage,
	"approvers": {"groups": terms.groups, "people": terms.people},
	"quorum": terms.quorum,
}]
