package chat

// expr is an expression node.
type expr interface{}

type (
	constExpr struct{ value any }
	nameExpr  struct {
		name string
		line int
	}
	listExpr  struct{ items []expr }
	tupleExpr struct{ items []expr }
	dictExpr  struct{ keys, values []expr }
	attrExpr  struct { // x.name
		of   expr
		name string
		line int
	}
	itemExpr struct { // x[index]
		of, index expr
		line      int
	}
	sliceExpr struct{ start, stop, step expr } // only as an index; nil: left out
	callExpr  struct {
		fn   expr
		args arguments
		line int
	}
	filterExpr struct {
		of   expr // nil: the text of a filter or set block
		name string
		args arguments
		line int
	}
	testExpr struct {
		of   expr
		name string
		args arguments
		not  bool
		line int
	}
	unaryExpr struct {
		op   string // "-", "+", "not"
		x    expr
		line int
	}
	binaryExpr struct {
		op   string // + - * / // % ** and or
		x, y expr
		line int
	}
	concatExpr  struct{ parts []expr }
	compareExpr struct { // x ops[0] rest[0] ops[1] rest[1] …, each pair compared as in Python
		x    expr
		ops  []string
		rest []expr
		line int
	}
	condExpr struct { // then if test else other
		test, then, other expr // other nil: undefined
		line              int
	}
)

// arguments of a call: positional, by name, and unpacked.
type arguments struct {
	pos      []expr
	names    []string // of the values in named
	named    []expr
	star     expr // *x
	starStar expr // **x
}

// stmt is a statement node.
type stmt interface{}

type (
	textStmt  struct{ text string }
	printStmt struct {
		x    expr
		line int
	}
	ifStmt struct {
		tests  []expr
		bodies [][]stmt
		other  []stmt
	}
	forStmt struct {
		target      expr // nameExpr or tupleExpr of them
		over        expr
		cond        expr // nil: none
		recursive   bool
		body, other []stmt
		line        int
	}
	setStmt struct {
		target expr // nameExpr, tupleExpr, or attrExpr on a namespace
		value  expr
		line   int
	}
	setBlockStmt struct {
		target expr
		filter expr // chain of filterExpr, nil: none
		body   []stmt
		line   int
	}
	macroStmt struct {
		*macroDef
		line int
	}
	callStmt struct { // {% call(args) macro() %} body
		caller *macroDef
		call   *callExpr
		line   int
	}
	filterStmt struct {
		filter expr
		body   []stmt
		line   int
	}
	withStmt struct {
		targets []expr
		values  []expr
		body    []stmt
	}
	generationStmt struct {
		body []stmt
		line int
	}
	blockStmt    struct{ body []stmt } // {% block %}: a scope of its own
	breakStmt    struct{}
	continueStmt struct{}
)

// macroDef is the definition of a macro or of a call block's body.
type macroDef struct {
	name       string
	params     []string
	defaults   []expr // of the last len(defaults) parameters
	body       []stmt
	usesVar    bool // the body mentions varargs: further positional arguments are accepted
	usesKw     bool // the body mentions kwargs
	usesCaller bool
}
