Feature: Certificates are renewed before they end

  @container
  Scenario: A certificate that ends soon is renewed
    Given the bootstrap node
    And the certificate of Salt's API ends in 3 days
    When the daily check of the certificates runs
    Then the certificate of Salt's API is good for another 300 days
    And Salt's API shows it
    And no other certificate was changed
