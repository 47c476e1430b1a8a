package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

func purgeCommand() *cobra.Command {
	var fleet fleetFlags
	var what url.Values
	var all bool
	c := &cobra.Command{
		Use: "purge", Short: "Have running gateways forget answers that their cache keeps", Args: args(cobra.NoArgs),
		Long: `Have running gateways forget answers that their cache keeps: those of a URL with all its variants, those whose URLs begin so, those
with a tag (in the response field that cache.tags names, Surrogate-Key by default), or all. A URL is the one that clients ask for, with scheme,
host, port if it is not the usual one, and query. The other gateways of a cluster are told by the one that is asked. It prints how many answers that one had.`,
		Example: `  weir purge --tag product-42
  weir purge --url 'https://shop.example/p/42?lang=de'
  weir purge --prefix https://shop.example/p/ --admin http://10.0.0.1:8080
  weir purge --all`,
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			what = url.Values{}
			for _, by := range []string{"url", "prefix", "tag"} {
				if f := cmd.Flags().Lookup(by); f.Changed {
					what.Set(by, f.Value.String())
				}
			}
			if all {
				what.Set("all", "true")
			}
			if len(what) != 1 {
				return usageError{errors.New("purge: say what to forget, by one of --url, --prefix, --tag or --all")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return fleet.each(func(api *apiFlags, prefix string) []error {
				var done purged
				if err := api.call(cmd.Context(), http.MethodDelete, "/api/v1/cache?"+what.Encode(), nil, &done); err != nil {
					return []error{err}
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%spurged %d\n", prefix, done.Purged)
				return only(err)
			})
		},
	}
	fleet.add(c)
	c.Flags().String("url", "", "forget what is kept of this URL")
	c.Flags().String("prefix", "", "forget what is kept of URLs that begin so")
	c.Flags().String("tag", "", "forget what has this tag")
	c.Flags().BoolVar(&all, "all", false, "forget everything")
	return c
}
