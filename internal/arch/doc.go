// Package arch holds one test: who may import whom. Imports point downwards only, stages never import each other, and each
// of the large libraries is confined to the packages named for it.
package arch
